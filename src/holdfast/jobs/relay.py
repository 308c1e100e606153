"""What keeps jobs moving when messages are lost, and when their time has come.

Every worker runs one. Each round is a few bounded statements that skip what another relay has locked, so any
number of relays share the work.
"""

import logging
import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from holdfast.errors import CarrierUnavailable
from holdfast.jobs import queries, sending
from holdfast.jobs.database import Database
from holdfast.jobs.keeper import Keeper
from holdfast.jobs.outbox import Carrier
from holdfast.jobs.patience import reason
from holdfast.jobs.schedules import Scheduler
from holdfast.jobs.sending import Delivery
from holdfast.jobs.workers import Worker, WorkerFacts

log = logging.getLogger(__name__)

BATCH = 1_000
# A message this old that no worker has claimed waits in a backlog, or is lost.
UNSTARTED = timedelta(seconds=5)


class Relay:
    """Sends due jobs that were not sent, and sends again what the broker lost."""

    def __init__(self, database: Database, carrier: Carrier) -> None:
        self._database = database
        self._carrier = carrier
        self._earlier: dict[str, int] = {}

    def round(self) -> None:
        """Everything once.

        Raises:
            SQLAlchemyError, CarrierUnavailable: it is away just now; the next round does what was not done.
        """
        self.send_due()
        self.resend_lost()

    def send_due(self) -> int:
        """Send the due jobs that no message was sent for; returns how many."""
        with self._database.transaction() as session:
            due = sending.take_unsent(session, limit=BATCH)
        self._send(due)
        return len(due)

    def resend_lost(self) -> int:
        """Send again what the broker seems to have lost; returns how many jobs.

        Jobs that were sent a while ago and have not started wait in the broker, or their messages are gone:
        the broker was flushed, or the process that was to publish them died. Where a queue holds fewer
        messages than such jobs in two rounds running, the difference is lost. Which ones is not known, but
        the oldest are next in line anyway, so those are sent again; a message too many finds its job taken
        and ends there.
        """
        deficits = self._deficits()
        lost = {queue: min(deficit, self._earlier.get(queue, 0)) for queue, deficit in deficits.items()}
        self._earlier = deficits
        return sum(self._resend(queue, count) for queue, count in lost.items() if count)

    def _deficits(self) -> dict[str, int]:
        queues = self._unstarted()
        # The broker is asked before PostgreSQL: a job that starts in between is then counted by neither.
        backlogs = {queue: self._carrier.backlog(queue) for queue in queues}
        unstarted = self._unstarted() if queues else {}
        return {queue: max(0, unstarted.get(queue, 0) - backlog) for queue, backlog in backlogs.items()}

    def _unstarted(self) -> dict[str, int]:
        with self._database.session() as session:
            return queries.unstarted_by_queue(session, sent_before=UNSTARTED, limit=BATCH)

    def _resend(self, queue: str, count: int) -> int:
        with self._database.transaction() as session:
            lost = sending.take_unstarted(session, queue, sent_before=UNSTARTED, limit=count)
        log.info("The broker holds %d messages too few in queue %r; sending again", count, queue)
        self._send(lost)
        return len(lost)

    def _send(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        try:
            self._carrier.send(deliveries)
        except CarrierUnavailable:
            with self._database.transaction() as session:
                sending.mark_unsent(session, [delivery.id for delivery in deliveries])
            raise


class WorkerThreads:
    """Runs the keeper, the relay and the scheduler of a worker, in a daemon thread each.

    Apart, because they fail apart: a broker that hangs must not keep leases from being renewed.

    Args:
        relay: what to run once a second, and when the keeper has something for it.
        scheduler: what to run once a second besides.
        database: the keeper's; its pool is one that no user code can exhaust.
        worker: whose leases are kept.
        facts: what to say of the worker.
    """

    def __init__(
        self,
        relay: Relay,
        scheduler: Scheduler,
        database: Database,
        worker: Worker,
        facts: Callable[[], WorkerFacts],
    ) -> None:
        self._keeper = Keeper(database, worker, facts, self.wake)
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(work, pause, wait), name=f"holdfast-{name}", daemon=True)
            for name, work, pause, wait in (
                ("relay", relay.round, 1.0, self._wait_for_work),
                ("scheduler", scheduler.round, 1.0, self._stopped.wait),
                ("keeper", self._keeper.beat, worker.beat.total_seconds(), self._stopped.wait),
            )
        ]

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Let the relay look at once: there is something to send."""
        self._woken.set()

    def stop(self) -> None:
        """End after the rounds that are under way, five seconds at most, and say that the worker ends."""
        self._stopped.set()
        self._woken.set()
        for thread in self._threads:
            thread.join(5)
        if not any(thread.is_alive() for thread in self._threads):
            self._keeper.leave()

    def _run(self, work: Callable[[], object], seconds: float, wait: Callable[[float], object]) -> None:
        try:
            self._repeat(work, seconds, wait)
        finally:
            # A worker without relay or keeper does harm: let it end, and its supervisor start another.
            if not self._stopped.is_set():
                log.critical("%s died; the worker ends", threading.current_thread().name)
                os.kill(os.getpid(), signal.SIGTERM)

    def _repeat(self, work: Callable[[], object], seconds: float, wait: Callable[[float], object]) -> None:
        while not self._stopped.is_set():
            try:
                work()
            except (SQLAlchemyError, CarrierUnavailable) as error:
                log.warning("%s: %s", threading.current_thread().name, reason(error))
            # A jittered pause, so that those of many workers do not look at the same moment.
            wait(seconds * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret

    def _wait_for_work(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()
