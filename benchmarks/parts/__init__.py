"""The parts: each module measures one thing, by `main(size)`."""
