"""The job engine: models, every write, every read, registry, runner and relay."""
