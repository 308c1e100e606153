"""The same job in each queue: a module each, run in an environment that has that queue."""
