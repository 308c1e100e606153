"""What keeps jobs moving when messages or workers are lost.

Every worker runs one. Each round is a few bounded statements that skip what another relay has locked, so any
number of relays share the work.
"""

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from holdfast.errors import CarrierUnavailable
from holdfast.jobs import queries, store
from holdfast.jobs.database import Database
from holdfast.jobs.outbox import Carrier
from holdfast.jobs.patience import reason
from holdfast.jobs.runner import Worker

log = logging.getLogger(__name__)

BATCH = 1_000
# A message this old that no worker has claimed waits in a backlog, or is lost.
UNSTARTED = timedelta(seconds=5)


class Relay:
    """Sends due jobs that were not sent, sends again what the broker lost, takes back expired leases."""

    def __init__(self, database: Database, carrier: Carrier) -> None:
        self._database = database
        self._carrier = carrier
        self._earlier: dict[str, int] = {}

    def rescue(self) -> list[UUID]:
        """Take back the jobs whose lease ran out; returns their ids."""
        with self._database.transaction() as session:
            rescued = store.rescue_expired(session, limit=BATCH)
        if rescued:
            log.warning("Took back %d jobs from workers that are gone: %s", len(rescued), rescued)
        return rescued

    def send_due(self) -> int:
        """Send the due jobs that no message was sent for; returns how many."""
        with self._database.transaction() as session:
            due = store.take_unsent(session, limit=BATCH)
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
            lost = store.take_unstarted(session, queue, sent_before=UNSTARTED, limit=count)
        log.info("The broker holds %d messages too few in queue %r; sending again", count, queue)
        self._send(lost)
        return len(lost)

    def _send(self, deliveries: Sequence[store.Delivery]) -> None:
        if not deliveries:
            return
        try:
            self._carrier.send(deliveries)
        except CarrierUnavailable:
            with self._database.transaction() as session:
                store.mark_unsent(session, [delivery.id for delivery in deliveries])
            raise


class RelayThread:
    """Runs a relay, and the heartbeat of a worker's leases, in a daemon thread each.

    Apart, because they fail apart: a broker that hangs must not keep leases from being renewed.

    Args:
        relay: what to run once a second.
        database: where leases are renewed; its pool is one that no user code can exhaust.
        worker: whose leases they are.
        running: the jobs this worker runs just now.
    """

    def __init__(
        self, relay: Relay, database: Database, worker: Worker, running: Callable[[], Sequence[UUID]]
    ) -> None:
        self._relay = relay
        self._database = database
        self._worker = worker
        self._running = running
        self._rescue_from = 0.0
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(self._relay_round, 1.0), name="holdfast-relay"),
            threading.Thread(
                target=self._run,
                args=(self._renew_leases, worker.lease.total_seconds() / 5),
                name="holdfast-heartbeat",
            ),
        ]

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def stop(self) -> None:
        """End after the round that is under way; waits for it, five seconds at most."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(5)

    def _run(self, work: Callable[[], object], seconds: float) -> None:
        try:
            self._repeat(work, seconds)
        finally:
            # A worker without relay or heartbeat does harm: let it end, and its supervisor start another.
            if not self._stopped.is_set():
                log.critical("%s died; the worker ends", threading.current_thread().name)
                os.kill(os.getpid(), signal.SIGTERM)

    def _repeat(self, work: Callable[[], object], seconds: float) -> None:
        # A jittered pause, so that the relays of many workers do not look at the same moment.
        while not self._stopped.wait(seconds * random.uniform(0.8, 1.2)):  # noqa: S311 - not a secret
            try:
                work()
            except (SQLAlchemyError, CarrierUnavailable) as error:
                log.warning("%s: %s", threading.current_thread().name, reason(error))

    def _relay_round(self) -> None:
        try:
            if time.monotonic() >= self._rescue_from:
                self._relay.rescue()
            self._relay.send_due()
        except SQLAlchemyError:
            # While PostgreSQL is away nobody can renew, so that leases run out under living workers. They are
            # given the time of one lease to say so when it is back.
            self._rescue_from = time.monotonic() + self._worker.lease.total_seconds()
            raise
        self._relay.resend_lost()

    def _renew_leases(self) -> None:
        job_ids = self._running()
        if job_ids:
            with self._database.transaction() as session:
                store.renew_leases(session, job_ids, worker=self._worker.name, lease=self._worker.lease)
