"""Jobs, queues and workers directly on the database, of all keys: for who runs the whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast.cli.loading import database_errors, load_holdfast
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.client import Client
    from holdfast.jobs.database import Database
    from holdfast.schemas import AttemptList, JobPage, JobView, QueueList, QueueView, WorkerList


class NoSuchJob(HoldfastError):
    """No job has this id."""

    code = "job_not_found"


class DirectSource:
    """What the commands ask of a client, answered by the database."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    def list_jobs(self, *, limit: int, **filters: Any) -> "JobPage":  # noqa: ANN401 - as JobFilter has them
        """The newest jobs that the filters let through."""
        from holdfast.jobs import queries
        from holdfast.schemas import JobPage

        page = queries.Page(queries.JobFilter(**filters), limit + 1)
        with self._database.session() as session:
            found = [_view(row) for row in queries.list_jobs(session, page)]
        shown = found[:limit]
        return JobPage(
            data=shown,
            has_more=len(found) > limit,
            first_id=shown[0].id if shown else None,
            last_id=shown[-1].id if shown else None,
        )

    def get_job(self, job_id: UUID) -> "JobView":
        """The job; its progress is as saved, up to a second old. Raises `NoSuchJob`."""
        from holdfast.jobs import queries

        with self._database.session() as session:
            row = session.execute(queries.SHOWN_JOB, {"job_id": job_id}).one_or_none()
        if row is None:
            raise NoSuchJob
        return _view(row)

    def list_attempts(self, job_id: UUID) -> "AttemptList":
        """The job's executions, first to last."""
        from holdfast.jobs import queries
        from holdfast.schemas import AttemptList, AttemptView

        with self._database.session() as session:
            found = queries.list_attempts(session, job_id)
            return AttemptList(data=[AttemptView.model_validate(attempt) for attempt in found])

    def cancel_job(self, job_id: UUID) -> "JobView":
        """Ask the job to stop; raises `NoSuchJob`."""
        from holdfast.jobs import store

        with self._database.transaction() as session:
            store.cancel(session, job_id)
        return self.get_job(job_id)

    def list_queues(self) -> "QueueList":
        """Every queue that has jobs, workers or a pause."""
        from holdfast.jobs import queues
        from holdfast.schemas import QueueList, QueueView

        with self._database.session() as session:
            return QueueList(data=[QueueView.model_validate(queue) for queue in queues.list_queues(session)])

    def list_workers(self) -> "WorkerList":
        """The workers that have lately said that they live."""
        from holdfast.jobs import workers
        from holdfast.schemas import WorkerList, WorkerView

        with self._database.session() as session:
            found = workers.list_workers(session)
            return WorkerList(data=[WorkerView.model_validate(worker) for worker in found])

    def pause_queue(self, name: str) -> "QueueView":
        """Start no more jobs of the queue."""
        from holdfast.jobs import queues
        from holdfast.schemas import QueueView

        with self._database.transaction() as session:
            queues.pause(session, name)
            return QueueView.model_validate(queues.get_queue(session, name))

    def resume_queue(self, name: str) -> "QueueView":
        """Start jobs of the queue again."""
        from holdfast.jobs import queues
        from holdfast.schemas import QueueView

        with self._database.transaction() as session:
            queues.resume(session, name)
            return QueueView.model_validate(queues.get_queue(session, name))


@contextmanager
def job_source(*, direct: bool) -> "Iterator[Client | DirectSource]":
    """Where a command has its jobs from: the API, or the database itself."""
    if direct:
        with database_errors():
            yield DirectSource(load_holdfast().database)
        return
    from holdfast.cli.remote import connected

    with connected() as client:
        yield client


@contextmanager
def operators_source(*, remote: bool) -> "Iterator[Client | DirectSource]":
    """Where a command for operators has its facts from: the database, or the API with an admin's key."""
    with job_source(direct=not remote) as source:
        yield source


def _view(row: Any) -> "JobView":  # noqa: ANN401 - a row of whatever columns are shown
    from holdfast.api.job_views import view_of

    return view_of(row, row.progress)
