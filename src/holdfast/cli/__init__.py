"""The `holdfast` command: run the parts, manage keys, ingest, search and follow jobs."""

from holdfast.cli.main import main

__all__ = ["main"]
