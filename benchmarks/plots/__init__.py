"""Pictures of the results. `draw` runs in an environment of its own, which has matplotlib."""
