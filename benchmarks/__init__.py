"""What Holdfast costs, measured: `make bench`. Each module of `benchmarks.parts` is one part."""
