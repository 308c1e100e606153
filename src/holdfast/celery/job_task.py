"""A Holdfast task as Celery sees it: an ordinary task that takes a job's id."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, NoReturn, assert_never
from uuid import UUID

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery import Task as CeleryTask
from celery import states
from celery.exceptions import Ignore, Retry
from celery.worker.request import Request
from pydantic import JsonValue
from sqlalchemy.exc import SQLAlchemyError

from holdfast.jobs import store
from holdfast.jobs.database import Database
from holdfast.jobs.outcome import Abandon, Complete, Decision, Fail, RetryLater, Stop
from holdfast.jobs.patience import reason
from holdfast.jobs.runner import Runner, Worker
from holdfast.jobs.task import Task

log = logging.getLogger(__name__)


class JobFailed(Exception):
    """The job has failed for good; PostgreSQL has the whole story."""


class JobRequest(Request):
    """A delivery in the worker's main process, which alone learns that a prefork child died."""

    task: "JobTask"

    def on_failure(
        self, exc_info: ExceptionInfo, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:  # noqa: ANN401 - Celery's own signature
        """Take the job back at once when its process is gone, then let Celery do what it does."""
        # Billiard wraps the exception of another process to carry its traceback.
        exception = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(exception, WorkerLostError):
            self.task.rescue(UUID(self.id))
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

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

    runner: ClassVar[Runner]
    database: ClassVar[Database]
    definition: ClassVar[Task[..., Any]]
    worker: ClassVar[Callable[[], Worker]]

    def run(self, job_id: str) -> JsonValue:
        """Run the job; the return value or exception is what Celery's result backend keeps for an hour."""
        decision = self.runner.run(self.definition, UUID(job_id), type(self).worker())
        if isinstance(decision, Complete):
            return decision.result
        return self._leave(decision)

    def rescue(self, job_id: UUID) -> None:
        """Take back a job whose child process died; the lease's end does it if the database is away."""
        try:
            with self.database.transaction() as session:
                store.rescue(session, job_id, worker=type(self).worker().name)
        except SQLAlchemyError as error:
            log.warning("Job %s will be taken back when its lease runs out: %s", job_id, reason(error))

    def _leave(self, decision: Decision | None) -> NoReturn:
        match decision:
            case Fail(error):
                raise JobFailed(f"{error['code']}: {error['message']}")
            case RetryLater(error, _, delay):
                # Raised, not `self.retry()`: the job waits in PostgreSQL, not as a message with an ETA.
                raise Retry(error["message"], when=datetime.now(UTC) + delay)
            case Stop():
                self.update_state(state=states.REVOKED)
                raise Ignore
            case Abandon() | None:
                raise Ignore
            case Complete():
                raise AssertionError(decision)
        assert_never(decision)


def celery_task(
    definition: Task[..., Any], runner: Runner, database: Database, worker: Callable[[], Worker]
) -> JobTask:
    """The Celery task that runs jobs of a Holdfast task."""
    attributes = {
        "name": definition.name,
        "definition": definition,
        "runner": runner,
        "database": database,
        "worker": staticmethod(worker),
        "abstract": False,
        "__doc__": definition.__doc__,
    }
    made: JobTask = type(definition.name, (JobTask,), attributes)()
    return made
