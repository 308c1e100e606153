"""What the keys and channels in Redis are called."""

from typing import Final
from uuid import UUID

# The one field of an entry of a job's stream.
FIELD: Final = "event"


def events_key(prefix: str, job_id: UUID) -> str:
    """A job's stream, and its channel."""
    return f"{prefix}events:{job_id}"


def news_channel(prefix: str) -> str:
    """Where changes of jobs are told."""
    return f"{prefix}news"


def progress_channel(prefix: str) -> str:
    """Where the progress of all jobs is told."""
    return f"{prefix}progress"
