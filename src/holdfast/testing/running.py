"""Running a job where the test is, without Celery."""

from uuid import UUID

from holdfast.app import Holdfast
from holdfast.errors import UnknownTask
from holdfast.jobs.models import Job
from holdfast.jobs.queries import get_job


def run_job(holdfast: Holdfast, job_id: UUID) -> Job:
    """Claim a due job and run it to the end of one attempt, as a worker does; returns its row afterwards.

    A job that is not due, or that somebody else runs, is left as it is, which its row tells: `status` is not
    what a test expects. A job that is to be retried is `queued` again with `run_at` in the future;
    `Clock.advance` brings that time. Call it in a thread (`asyncio.to_thread`) from async code.

    Raises:
        UnknownTask: there is no such job, or its task is not registered with this Holdfast.
    """
    task = holdfast.tasks[_job(holdfast, job_id).task]
    holdfast._parts.runner.run(task, job_id, holdfast._identity())  # noqa: SLF001 - as its Celery task does
    return _job(holdfast, job_id)


def _job(holdfast: Holdfast, job_id: UUID) -> Job:
    with holdfast.database.session() as session:
        job = get_job(session, job_id)
    if job is None:
        raise UnknownTask(f"There is no job {job_id}.")
    return job
