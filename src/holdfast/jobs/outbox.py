"""From commit to broker: jobs are handed over after their transaction, never before, and never lost.

An enqueue marks its job as sent in advance and leaves a note in the session. When the transaction commits,
the noted jobs go to a thread that publishes them, all that gathered while the last publish was on its way
at once; the caller waits for none of it. If the broker does not take them the mark is taken back, and if
the process dies in between, the relay finds jobs that were marked and never started.
"""

import atexit
import logging
import queue
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from sqlalchemy import event
from sqlalchemy.orm import Session

from holdfast.errors import CarrierUnavailable, DatabaseUnavailable
from holdfast.jobs.database import Database
from holdfast.jobs.patience import patiently
from holdfast.jobs.process import PerProcess
from holdfast.jobs.sending import Delivery, mark_unsent

log = logging.getLogger(__name__)

_NOTES = "holdfast.noted"
_BATCH = 500


class Carrier(Protocol):
    """What brings jobs to workers. Celery, in practice."""

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Publish a message for each; raises `CarrierUnavailable` if any may not have been taken."""
        ...

    def backlog(self, queue: str) -> int:
        """How many messages wait in this queue; raises `CarrierUnavailable`."""
        ...


class Outbox:
    """Hands jobs to the carrier once the transaction that wrote them has committed."""

    def __init__(self, database: Database, carrier: Carrier) -> None:
        self._publisher = PerProcess(lambda: Publisher(database, carrier))

    def send_after_commit(self, session: Session, delivery: Delivery) -> None:
        """Note a job in the session; it is sent when the session's transaction commits."""
        session.info.setdefault(_NOTES, []).append((self, delivery))

    def flush(self, timeout: timedelta) -> bool:
        """Wait until everything handed over so far was published or given back; `False`: not in time."""
        return self._publisher.get().flush(timeout)

    def _hand_over(self, delivery: Delivery) -> None:
        self._publisher.get().put(delivery)


@event.listens_for(Session, "after_commit")
def _send_noted(session: Session) -> None:
    # The event also fires when a savepoint is released; only the outermost commit makes the rows visible.
    if session.in_nested_transaction():
        return
    for outbox, delivery in session.info.pop(_NOTES, ()):
        outbox._hand_over(delivery)  # noqa: SLF001 - the other half of Outbox


@event.listens_for(Session, "after_rollback")
def _drop_noted(session: Session) -> None:
    # A note of a savepoint that was rolled back is left: its message will find no row, and end there.
    if not session.in_nested_transaction():
        session.info.pop(_NOTES, None)


class Publisher:
    """The thread that publishes; one per process."""

    def __init__(self, database: Database, carrier: Carrier) -> None:
        self._database = database
        self._carrier = carrier
        self._queue: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._idle = threading.Condition()
        self._pending = 0
        self._thread = self._started_thread()
        atexit.register(self.flush, timedelta(seconds=2))

    def put(self, delivery: Delivery) -> None:
        """Publish this job soon; returns at once."""
        with self._idle:
            self._pending += 1
            # What ends the thread is a bug, told by its traceback; the jobs after it are not to suffer.
            if not self._thread.is_alive():
                self._thread = self._started_thread()
        self._queue.put(delivery)

    def flush(self, timeout: timedelta) -> bool:
        """Wait until nothing is pending; `False`: something still was when the time was over."""
        with self._idle:
            return self._idle.wait_for(lambda: self._pending == 0, timeout.total_seconds())

    def _started_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="holdfast-publisher", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while True:
            batch = self._gather()
            try:
                self._publish(batch)
            finally:
                with self._idle:
                    self._pending -= len(batch)
                    self._idle.notify_all()

    def _publish(self, batch: Sequence[Delivery]) -> None:
        try:
            self._carrier.send(batch)
        except CarrierUnavailable as error:
            log.warning("The broker did not take %d jobs; the relay will send them: %s", len(batch), error)
            self._give_back(batch)

    def _gather(self) -> list[Delivery]:
        batch = [self._queue.get()]
        while len(batch) < _BATCH:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return batch

    def _give_back(self, batch: Sequence[Delivery]) -> None:
        def mark() -> None:
            with self._database.transaction() as session:
                mark_unsent(session, [delivery.id for delivery in batch])

        try:
            patiently(mark, patience=timedelta(seconds=5))
        except DatabaseUnavailable:
            log.warning("PostgreSQL is away as well; the relay will find %d unstarted jobs.", len(batch))
