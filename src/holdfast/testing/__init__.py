"""What tests of a Holdfast application need: engines, databases, workers, a clock; see `fixtures`."""
