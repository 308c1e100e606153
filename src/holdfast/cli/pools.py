"""The pools that a worker can have."""

from enum import StrEnum


class Pool(StrEnum):
    """How the jobs of a worker run side by side."""

    ASYNCIO = "asyncio"
    PREFORK = "prefork"
    THREADS = "threads"
    SOLO = "solo"

    @property
    def target(self) -> str:
        """As Celery's setting `worker_pool` has it."""
        return "holdfast.celery.pool:AsyncioPool" if self is Pool.ASYNCIO else self.value
