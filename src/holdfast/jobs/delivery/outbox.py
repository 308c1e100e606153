"""From commit to broker: jobs are handed over after their transaction, never before, and never lost.

An enqueue marks its job as sent in advance and leaves a note in the session. When the transaction commits,
the noted jobs go to a thread that publishes them, all that gathered while the last publish was on its way
at once; the caller waits for none of it. If the broker does not take them the mark is taken back, and if
the process dies in between, the relay finds jobs that were marked and have no message.

While the broker has as many messages as it should have, or is away, jobs are written without the mark, and
the relay sends them when there is room.
"""

import atexit
import logging
import queue
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from sqlalchemy import event
from sqlalchemy.orm import Session

from holdfast.errors import CarrierUnavailable, DatabaseUnavailable
from holdfast.jobs.database import Database
from holdfast.jobs.delivery.gauge import Gauge
from holdfast.jobs.delivery.sending import Delivery, mark_unsent
from holdfast.jobs.delivery.waiting import Backlog
from holdfast.jobs.patience import patiently
from holdfast.jobs.process import PerProcess

log = logging.getLogger(__name__)

_NOTES = "holdfast.noted"
_BATCH = 500
# What a transaction has noted is not in the broker yet, where it could be counted: of a long one, the rest is
# left to the relay.
_MOST_NOTES = 500


class Carrier(Protocol):
    """What brings jobs to workers: Celery, in practice. All but `send` and `backlog` may do nothing.

    Every method raises `CarrierUnavailable` when the broker cannot be reached or refuses.
    """

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Publish a message for each; when it raises, some may have been taken all the same."""
        ...

    def backlog(self, queue: str) -> Backlog:
        """How many messages wait in this queue."""
        ...

    def waiting_jobs(self, queue: str) -> set[UUID] | None:
        """The jobs whose messages wait in this queue; `None`: this broker does not show them."""
        ...

    def is_blank(self) -> bool:
        """Whether the broker is new, or has forgotten everything since `sign` was called.

        Of all that ask, one is told so; another, when that one has not called `sign` for some seconds.
        """
        ...

    def sign(self) -> None:
        """Leave a sign in the broker that goes when it forgets."""
        ...

    def reserve(self, what: str, pause: timedelta, *, renew: bool = False) -> bool:
        """Whether nobody has reserved this; it then is, for such a pause, where the broker can do that.

        With `renew` it is the one who reserved it that asks for another pause from now on.
        """
        ...

    def workers_that_know(self, task: str) -> Sequence[str]:
        """The workers that answer within a second and have this task."""
        ...


class Outbox:
    """Hands jobs to the carrier once the transaction that wrote them has committed."""

    def __init__(self, database: Database, carrier: Carrier) -> None:
        self._gauge = PerProcess(Gauge)
        self._publisher = PerProcess(lambda: Publisher(database, carrier, self._gauge.get()))

    def has_room(self, session: Session | None, queue: str, priority: int) -> bool:
        """Whether a job that is written now is to be sent after the commit, or left to the relay.

        Without a session it is one that is written by itself, and given to `send`.
        """
        if session is not None and len(session.info.get(_NOTES, ())) >= _MOST_NOTES:
            return False
        has_room = self._gauge.get().admit(queue, priority)
        if not has_room and self._gauge.get().ask(queue):
            self._publisher.get().put(_Question(queue))
        return has_room

    def send_after_commit(self, session: Session, delivery: Delivery) -> None:
        """Note a job in the session; it is sent when the session's transaction commits."""
        session.info.setdefault(_NOTES, []).append((self, delivery))

    def send(self, delivery: Delivery) -> None:
        """Send a job whose transaction has committed; returns at once."""
        self._publisher.get().put(delivery)

    def flush(self, timeout: timedelta) -> bool:
        """Wait until everything handed over so far was published or given back; `False`: not in time."""
        return self._publisher.get().flush(timeout)


@event.listens_for(Session, "after_commit")
def _send_noted(session: Session) -> None:
    # The event also fires when a savepoint is released; only the outermost commit makes the rows visible.
    if session.in_nested_transaction():
        return
    for outbox, delivery in session.info.pop(_NOTES, ()):
        outbox.send(delivery)


@event.listens_for(Session, "after_rollback")
def _drop_noted(session: Session) -> None:
    # A note of a savepoint that was rolled back is left: its message will find no row, and end there.
    if not session.in_nested_transaction():
        session.info.pop(_NOTES, None)


@dataclass(frozen=True)
class _Question:
    """Somebody wants to know how full this queue is."""

    queue: str


class Publisher:
    """The thread that publishes, and sees how full the broker is; one per process."""

    def __init__(self, database: Database, carrier: Carrier, gauge: Gauge) -> None:
        self._database = database
        self._carrier = carrier
        self._gauge = gauge
        self._queue: queue.SimpleQueue[Delivery | _Question] = queue.SimpleQueue()
        self._idle = threading.Condition()
        self._pending = 0
        self._thread = self._started_thread()
        atexit.register(self.flush, timedelta(seconds=2))

    def put(self, item: Delivery | _Question) -> None:
        """Publish this job, or ask this, soon; returns at once."""
        with self._idle:
            self._pending += 1
            # What ends the thread is a bug, told by its traceback; the jobs after it are not to suffer.
            if not self._thread.is_alive():
                self._thread = self._started_thread()
        self._queue.put(item)

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
            items = self._gather()
            try:
                batch = [item for item in items if isinstance(item, Delivery)]
                self._publish(batch)
                published = {delivery.queue for delivery in batch}
                asked = {item.queue for item in items if isinstance(item, _Question)}
                self._read(asked.union(filter(self._gauge.ask, published)))
            finally:
                with self._idle:
                    self._pending -= len(items)
                    self._idle.notify_all()

    def _publish(self, batch: Sequence[Delivery]) -> None:
        if not batch:
            return
        try:
            self._carrier.send(batch)
        except CarrierUnavailable as error:
            log.warning("The broker did not take %d jobs; the relay will send them: %s", len(batch), error)
            self._give_back(batch)
            for name in {delivery.queue for delivery in batch}:
                self._gauge.tell(name, None)

    def _read(self, queues: Collection[str]) -> None:
        for name in queues:
            try:
                self._gauge.tell(name, self._carrier.backlog(name))
            except CarrierUnavailable:
                self._gauge.tell(name, None)

    def _gather(self) -> list[Delivery | _Question]:
        items = [self._queue.get()]
        while len(items) < _BATCH:
            try:
                items.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return items

    def _give_back(self, batch: Sequence[Delivery]) -> None:
        def mark() -> None:
            with self._database.transaction() as session:
                mark_unsent(session, [delivery.id for delivery in batch])

        try:
            patiently(mark, patience=timedelta(seconds=5))
        except DatabaseUnavailable:
            log.warning("PostgreSQL is away as well; the relay will find %d unstarted jobs.", len(batch))
