"""`python -m benchmarks.chaos`: Holdfast under every fault, and beside two rivals under the same kills."""
