"""Limits that the API tells and the engine holds."""

from typing import Final

MAX_JOBS: Final = 10_000
"""How many jobs a batch has at most."""

COUNTED: Final = 10_000
"""More waiting jobs of a queue than this are not counted."""
