"""Which jobs have lost their message, and are to be sent again.

A message is lost when the broker forgets it, when the process dies that was to publish it, and when a worker
dies that had taken it. See docs/decisions/0008-the-broker-window.md.
"""

import logging
import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from holdfast.jobs.database import Database
from holdfast.jobs.delivery import sending, waiting
from holdfast.jobs.delivery.outbox import Carrier

log = logging.getLogger(__name__)

# A message of this age that no worker has claimed waits in the broker, or is lost.
UNSTARTED = timedelta(seconds=5)
# One that is younger may still be on its way.
ON_ITS_WAY = timedelta(seconds=1)
# How often all relays together look closely: it costs them the reading of every message that waits. Where
# many queues are full that takes longer, and they rest so many times as long afterwards.
LOOKING = timedelta(seconds=4)
REST = 20
# More than the windows of all priorities hold, so that what waits in the broker is seen whole.
LIMIT = 25_000


class Losses:
    """Compares the jobs that were sent with the messages that wait.

    A job counts as lost when its message was missing in two looks running, a round apart: in between it may
    have been on its way, or in the hands of a worker that was about to claim it. A standing backlog is as
    long in the broker as in PostgreSQL, so nothing of it is sent twice however long it stands.
    """

    def __init__(self, database: Database, carrier: Carrier) -> None:
        self._database = database
        self._carrier = carrier
        self._suspects: set[UUID] = set()

    def take_back(self) -> int:
        """Take the mark from jobs whose messages are lost, so that they are sent again; returns of how many.

        Raises:
            SQLAlchemyError, CarrierUnavailable: it is away just now.
        """
        if self._carrier.is_blank():
            lost = self._mark_unsent(self._missing(ON_ITS_WAY), ON_ITS_WAY)
            self._carrier.sign()
            log.log(
                logging.WARNING if lost else logging.INFO,
                "The broker is new, or has forgotten what it held; %d jobs are sent again",
                lost,
            )
            return lost
        if not self._suspects and not self._carrier.reserve("look", LOOKING):
            return 0
        began = time.monotonic()
        missing = self._missing(UNSTARTED)
        rest = timedelta(seconds=(time.monotonic() - began) * REST)
        if rest > LOOKING:
            self._carrier.reserve("look", rest, renew=True)
        confirmed, self._suspects = self._suspects & missing, missing - self._suspects
        lost = self._mark_unsent(confirmed, UNSTARTED)
        if lost:
            log.warning("The messages of %d jobs are lost; these are sent again", lost)
        return lost

    def _missing(self, sent_before: timedelta) -> set[UUID]:
        with self._database.session() as session:
            queues = waiting.unstarted_by_queue(session, sent_before=sent_before, limit=1)
        return set().union(*(self._missing_of(queue, sent_before) for queue in queues))

    def _missing_of(self, queue: str, sent_before: timedelta) -> set[UUID]:
        # PostgreSQL is asked before the broker: what is sent in between is then not missed.
        jobs = self._unstarted(queue, sent_before)
        in_broker = self._carrier.waiting_jobs(queue)
        if in_broker is not None:
            return set(jobs) - in_broker
        # A broker that only counts is asked first: a job that starts in between is then not missed. Which
        # jobs have no message cannot be known, but the oldest are next in line anyway.
        count = self._carrier.backlog(queue).total
        jobs = self._unstarted(queue, sent_before)
        return set(jobs[: max(0, len(jobs) - count)])

    def _unstarted(self, queue: str, sent_before: timedelta) -> Sequence[UUID]:
        with self._database.session() as session:
            return waiting.unstarted(session, queue, sent_before=sent_before, limit=LIMIT)

    def _mark_unsent(self, job_ids: Collection[UUID], sent_before: timedelta) -> int:
        if not job_ids:
            return 0
        with self._database.transaction() as session:
            return sending.mark_unsent(session, job_ids, sent_before=sent_before)
