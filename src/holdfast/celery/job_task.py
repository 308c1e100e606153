"""A Holdfast task as Celery sees it: an ordinary task that takes a job's id."""

import os
import threading
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, NoReturn, assert_never
from uuid import UUID

from celery import Task as CeleryTask
from celery import states
from celery.exceptions import Ignore, Retry
from celery.worker.request import Request
from celery.worker.state import task_ready
from pydantic import JsonValue

from holdfast.celery.results import CeleryState, ResultWriter
from holdfast.jobs.outcome import Abandon, Complete, Decision, Fail, HandBack, RetryLater, Stop, Suspend
from holdfast.jobs.process import PerProcess
from holdfast.jobs.runner import Runner
from holdfast.jobs.running import RunningAttempt
from holdfast.jobs.store import Claim
from holdfast.jobs.task import Task
from holdfast.jobs.workers import Worker


class JobFailed(Exception):
    """The job has failed for good; PostgreSQL has the whole story."""


class JobRequest(Request):
    """A delivery in the worker's main process."""

    # Celery's types leave out the half of what it calls here.
    task: Any

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:  # noqa: ANN401
        """Its attempt failed, or its process is lost: killed, perhaps, because it did not leave."""
        match self.task.ended_by_force.pop(self.id, None):
            case None:
                super().on_failure(exc_info, send_failed_event, return_ok)
            case Fail(error):
                failed = JobFailed(f"{error['code']}: {error['message']}")
                exc_info.type, exc_info.exception, exc_info.traceback = JobFailed, failed, str(failed)
                super().on_failure(exc_info, send_failed_event, return_ok)
            case Stop():
                self._announce_revoked("terminated", True, "SIGKILL", False)
            case _:
                # The next attempt may have begun, and Celery must not be told of this one after that.
                task_ready(self)
                self.acknowledge()

    def _announce_revoked(self, reason: str, terminated: bool, signum: object, expired: bool) -> None:
        """Celery was told to revoke it, which it remembers for a while: the job is cancelled for good."""
        super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]
        # Not here: this thread takes messages, and PostgreSQL may be away.
        cancel = partial(self.task.runner.cancel, UUID(self.id))
        threading.Thread(target=cancel, name="holdfast-revoked", daemon=True).start()

    def acknowledge(self) -> None:
        """Tell the broker that the message was dealt with, unless the connection it came by is gone."""
        if not self._is_cut_off():
            super().acknowledge()

    def reject(self, requeue: bool = False) -> None:
        """Give the message back, unless the connection it came by is gone."""
        if not self._is_cut_off():
            super().reject(requeue=requeue)

    def _is_cut_off(self) -> bool:
        # On a closed channel kombu 5.7 raises what Celery does not expect, and the worker ends. The broker
        # delivers such a message again; whoever gets it finds the job taken or done.
        return bool(getattr(self.message.channel, "closed", False))


class JobTask(CeleryTask[[str], JsonValue]):
    """Claims and runs the job it is given the id of, and tells Celery how that ended.

    Made by `celery_task`, one class for each Holdfast task.
    """

    Request = JobRequest  # type: ignore[assignment]
    abstract = True
    typing = False
    # Results and arguments are the users' data: they do not belong into logs and events.
    resultrepr_maxsize = 0
    # A failed job is told by the runner's log, with its traceback; Celery need not repeat it.
    throws = (JobFailed,)
    # It is told by this class, once the job is claimed.
    track_started = False

    runner: ClassVar[Runner]
    definition: ClassVar[Task[..., Any]]
    worker: ClassVar[Callable[[], Worker]]
    ended_by_force: ClassVar[MutableMapping[str, Decision]]
    claims: ClassVar[MutableMapping[str, Claim]]
    results: ClassVar[PerProcess[ResultWriter]]

    def run(self, job_id: str) -> JsonValue:
        """Run the job; the return value or exception is what Celery's result backend keeps for an hour."""
        worker, claim = type(self).worker(), self.claims.pop(job_id, None)
        decision = self.runner.run(self.definition, UUID(job_id), worker, claim, self._tell_started)
        by_force = self.ended_by_force.pop(job_id, None)
        if isinstance(by_force, Fail | Stop):  # which no attempt follows
            decision = by_force
        if isinstance(decision, Complete):
            return decision.result
        if self.request.id is not None:
            self.results.get().settle(self.request.id)
        if isinstance(decision, Stop):
            self.update_state(state=states.REVOKED)
        return self._leave(decision)

    def _tell_started(self, _: RunningAttempt) -> None:
        request = self.request
        if request.id is not None and not request.is_eager:
            facts = {"pid": os.getpid(), "hostname": request.hostname}
            self.results.get().tell(request.id, CeleryState(states.STARTED, facts))

    def _leave(self, decision: Decision | None) -> NoReturn:
        match decision:
            case Fail(error):
                raise JobFailed(f"{error['code']}: {error['message']}")
            case RetryLater(error, _, delay):
                # Raised, not `self.retry()`: the job waits in PostgreSQL, not as a message with an ETA.
                raise Retry(error["message"], when=datetime.now(UTC) + delay)
            case Stop() | Abandon() | HandBack() | Suspend() | None:
                raise Ignore
            case Complete():
                raise AssertionError(decision)
        assert_never(decision)
