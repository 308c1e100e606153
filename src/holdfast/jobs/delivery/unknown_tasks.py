"""Jobs that came to a worker which does not know their task: put off, and told in words.

It happens when workers run older code than what enqueues, and when several applications share a queue.
"""

import logging
import queue
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from holdfast.errors import CarrierUnavailable
from holdfast.jobs.database import Database
from holdfast.jobs.delivery import sending
from holdfast.jobs.delivery.outbox import Carrier

log = logging.getLogger(__name__)

# How long such a job waits: half its age, within these limits. Another worker may know it, or soon will.
LEAST = timedelta(seconds=5)
MOST = timedelta(minutes=1)
TELLING_SECONDS = 60.0


@dataclass(frozen=True)
class UnknownTask:
    """A job whose task the worker does not know, and the queue it came from."""

    job_id: UUID
    task: str
    queue: str


class UnknownTasks:
    """Puts such jobs off, so that they do not come again at once, and tells of each task once a minute."""

    def __init__(self, database: Database, carrier: Carrier) -> None:
        self._database = database
        self._carrier = carrier
        self._met: queue.SimpleQueue[UnknownTask] = queue.SimpleQueue()
        self._told: dict[tuple[str, str], float] = {}

    def note(self, met: UnknownTask) -> None:
        """Have this job put off; returns at once."""
        self._met.put(met)

    def put_off(self) -> int:
        """Put off the jobs that were noted; returns how many still wait.

        One that is lost on the way, as when PostgreSQL is away, is found to have no message, and sent again.
        """
        met = list(self._take())
        if not met:
            return 0
        with self._database.transaction() as session:
            waits = sending.postpone(session, [each.job_id for each in met], least=LEAST, most=MOST)
        for task, name in sorted({(each.task, each.queue) for each in met}):
            if time.monotonic() >= self._told.get((task, name), 0.0):
                self._told[task, name] = time.monotonic() + TELLING_SECONDS
                self._tell(task, name)
        return waits

    def _take(self) -> Iterator[UnknownTask]:
        while not self._met.empty():
            yield self._met.get()

    def _tell(self, task: str, name: str) -> None:
        log.error(
            "Jobs of task %r come from queue %r to this worker, which does not know the task; %s."
            " They are put off, a minute at most.",
            task,
            name,
            _who(self._asked(task)),
        )

    def _asked(self, task: str) -> Sequence[str]:
        try:
            return self._carrier.workers_that_know(task)
        except CarrierUnavailable:
            return ()


def _who(workers: Sequence[str]) -> str:
    if not workers:
        return "no worker that answers does: does their code register it?"
    return f"these do: {', '.join(workers)}. Give those that do not another queue, or the same code"
