"""What a job and an attempt can be; the words stand in DESIGN terms in table, API and CLI alike."""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands. A terminal status never changes; the database ties it to `completed_at`."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


class AttemptOutcome(StrEnum):
    """How one execution of a job ended.

    `lost` counts as a crash; `handed_back` (its worker was shut down) and `suspended` (it waits for its
    children) count as nothing.
    """

    COMPLETED = "completed"
    FAILED = "failed"
    RETRIED = "retried"
    CANCELLED = "cancelled"
    LOST = "lost"
    HANDED_BACK = "handed_back"
    SUSPENDED = "suspended"


class Steps(StrEnum):
    """Whether the retry of a dead job is given the results of its steps, or runs them all again."""

    KEEP = "keep"
    DROP = "drop"
