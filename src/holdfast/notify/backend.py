"""`Notifications`: tells of the end of jobs and batches, written with the engine's public face.

What is to be told is written by the database in the transaction in which a job ends, with a job that brings
it; this is what these jobs do.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from holdfast.app import Holdfast
from holdfast.errors import PermanentError, Retry
from holdfast.jobs.context import JobContext
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import Job
from holdfast.jobs.outcome import Suspension
from holdfast.jobs.storable import storable_text
from holdfast.notify import endpoints, log
from holdfast.notify.channel import Answer, Channel, NotSent
from holdfast.notify.errands import PING, Errand, errand_of
from holdfast.notify.log import Tried
from holdfast.notify.models import DisabledBecause, Notification, NotificationStatus, Webhook
from holdfast.notify.posting import Poster
from holdfast.notify.webhook import WebhookChannel
from holdfast.states import JobStatus

# As Standard Webhooks has them: ten tries over some three days.
WAITS: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
# The migration gives the same names, priority and limits to the jobs that the database makes.
SEND_TASK: Final = "send_notification"
BATCH_TASK: Final = "notify_of_batch"
PRUNE_TASK: Final = "prune_notifications"
PRIORITY: Final = 2
MAX_CRASHES: Final = 20
# Whatever channel: no job is to hang.
_MOST_SECONDS: Final = 60.0
_AWAITED: Final = 100
_MAX_MESSAGE: Final = 1_000


@dataclass(frozen=True)
class Verdict:
    """What follows from a try: it is over, or the next one comes after `wait`."""

    status: NotificationStatus
    wait: timedelta | None = None


class Notifications:
    """Webhooks, and what channels are added.

    Args:
        holdfast: where the tasks `send_notification`, `notify_of_batch` and `prune_notifications` are
            registered, and which jobs may then say `notify`.
        poster: how webhooks are posted, and where they may go.
        keep: how long the log is kept after the end of what it tells of; `None` for ever.
    """

    def __init__(
        self, holdfast: Holdfast, *, poster: Poster | None = None, keep: timedelta | None = timedelta(days=30)
    ) -> None:
        self.poster = poster or Poster()
        self._holdfast = holdfast
        self._database = holdfast.database
        self._channels: dict[str, Channel] = {}
        self._keep = keep
        self.add(WebhookChannel(self.poster))
        retries = len(WAITS)
        # In three days more workers may be lost than make a job suspicious.
        register = partial(holdfast.task, retries=retries, priority=PRIORITY, max_crashes=MAX_CRASHES)
        self._send_notification = register(name=SEND_TASK)(self._send)
        register(name=BATCH_TASK)(self._notify_of_batch)
        if keep is not None:
            holdfast.task(name=PRUNE_TASK, cron="7 3 * * *", priority=9)(self._prune)

    def add(self, channel: Channel) -> None:
        """Let jobs be told of by this channel.

        Raises:
            ConfigurationError: there is one of this name.
        """
        self._holdfast.channels.add(channel.name, channel.check)
        self._channels[channel.name] = channel

    def ping(self, session: Session, webhook: Webhook) -> Notification:
        """Send an endpoint something to try it with, once, when the caller commits."""
        notification = Notification(
            id=new_id(), owner_id=webhook.owner_id, event=PING, channel="webhook", webhook_id=webhook.id
        )
        session.add(notification)
        session.flush()
        session.refresh(notification)
        self._send_notification.enqueue(session, notification_id=notification.id)
        return notification

    def redeliver(self, session: Session, notification: Notification) -> None:
        """Bring a notification once more, now, and under the same id, when the caller commits."""
        log.reopen(session, notification.id)
        self._send_notification.enqueue(session, notification_id=notification.id)

    async def _send(self, job: JobContext, notification_id: UUID) -> str:
        """Bring a notification to its receiver."""
        errand = await asyncio.to_thread(self._begin, notification_id)
        if errand is None:
            return "nothing to tell"
        began = time.monotonic()
        came_of_it = await self._try(errand)
        seconds = time.monotonic() - began
        verdict = await asyncio.to_thread(self._settle, errand, job.id, came_of_it, seconds)
        if not isinstance(came_of_it, NotSent):
            return verdict.status
        if verdict.wait is not None:
            raise Retry(came_of_it.message, after=verdict.wait, code=came_of_it.code)
        raise PermanentError(came_of_it.message, code=came_of_it.code)

    def _begin(self, notification_id: UUID) -> Errand | None:
        """What is to be done; `None`: nothing, as it is done, or nobody wants to know any more."""
        with self._database.transaction() as session:
            notification = log.get_notification(session, notification_id)
            if notification is None or notification.status != NotificationStatus.PENDING:
                return None
            errand = errand_of(session, notification)
            if errand.channel is None:
                log.end(session, notification.id, NotificationStatus.DISCARDED)
                return None
        return errand

    async def _try(self, errand: Errand) -> Answer | NotSent | None:
        channel = self._channels.get(errand.channel or "")
        if channel is None:
            return NotSent(f"There is no channel {errand.channel!r} any more.", code="no_channel")
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                return await channel.send(errand.notice, errand.target)
        except NotSent as error:
            return error
        except TimeoutError:
            return NotSent(f"It took longer than {_MOST_SECONDS:g} s.", code="timed_out")
        except Exception as error:  # noqa: BLE001 - channels are users' code too
            is_final = isinstance(error, PermanentError)
            return NotSent(f"{type(error).__name__}: {error}", code="channel_error", is_final=is_final)

    def _settle(
        self, errand: Errand, job_id: UUID, came_of_it: Answer | NotSent | None, seconds: float
    ) -> Verdict:
        """Write the try into the log, and what follows from it."""
        failure = came_of_it if isinstance(came_of_it, NotSent) else None
        answer = came_of_it.answer if isinstance(came_of_it, NotSent) else came_of_it
        error = None if failure is None else _described(failure)
        with self._database.transaction() as session:
            if log.get_notification(session, errand.notice.id) is None:
                return Verdict(NotificationStatus.DISCARDED)  # removed with its endpoint meanwhile
            tries = log.record(session, errand.notice.id, Tried(job_id, seconds, answer, error))
            verdict = verdict_on(failure, tries, errand.notice.event)
            # Another job may have brought it since: what was delivered stays so.
            is_over = verdict.wait is None and log.end(session, errand.notice.id, verdict.status)
            if is_over and failure is not None and errand.webhook_id is not None:
                self._doubt(session, errand, is_gone=failure.is_gone)
        return verdict

    def _doubt(self, session: Session, errand: Errand, *, is_gone: bool) -> None:
        """Disable an endpoint that is gone, or that nothing has reached for as long as there were tries."""
        assert errand.webhook_id is not None  # noqa: S101 - the caller's to see to
        if is_gone:
            endpoints.disable(session, errand.webhook_id, DisabledBecause.GONE)
        elif errand.notice.event != PING:
            notification = session.get_one(Notification, errand.notice.id)
            if log.nothing_arrived_since(session, notification):
                endpoints.disable(session, errand.webhook_id, DisabledBecause.FAILING)

    async def _notify_of_batch(self, job: JobContext, batch_id: UUID) -> int:
        """Wait for the end of a batch, and have it told."""
        unfinished = await asyncio.to_thread(self._unfinished, batch_id)
        if unfinished:
            raise Suspension(list(unfinished), wakes_on_failure=False)
        return await job.transact("tell", log.add_for_batch, batch_id)

    def _unfinished(self, batch_id: UUID) -> Sequence[UUID]:
        """Jobs of a batch that have not ended: the last that were asked for, which usually end last."""
        waiting = (JobStatus.QUEUED, JobStatus.PROCESSING)
        mine = select(Job.id).where(Job.batch_id == batch_id, Job.status.in_(waiting))
        with self._database.session() as session:
            return session.scalars(mine.order_by(Job.id.desc()).limit(_AWAITED)).all()

    def _prune(self, job: JobContext) -> int:
        """Delete what the log has kept for long enough."""
        assert self._keep is not None  # noqa: S101 - registered for this case alone
        deleted = 0
        while True:
            with self._database.transaction() as session:
                count = log.delete_old(session, self._keep)
            if not count:
                return deleted
            deleted += count
            job.progress(deleted, None, "notifications deleted")


def verdict_on(failure: NotSent | None, tries: int, event: str) -> Verdict:
    """What follows from the `tries`-th try of a job: pure, but for some spread of the wait.

    A receiver that asks for a longer wait is given it. A ping is tried once.
    """
    if failure is None:
        return Verdict(NotificationStatus.DELIVERED)
    if failure.is_final or tries > len(WAITS) or event == PING:
        return Verdict(NotificationStatus.FAILED)
    spread = random.uniform(1.0, 1.1)  # noqa: S311 - spreading load, not a secret
    wait = max(WAITS[tries - 1] * spread, failure.retry_after or timedelta())
    return Verdict(NotificationStatus.PENDING, wait)


def _described(failure: NotSent) -> dict[str, str]:
    return {"code": failure.code, "message": storable_text(failure.message)[:_MAX_MESSAGE]}
