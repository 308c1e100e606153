"""Asking for work by name, and once more for work that has failed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.accepting import IdempotencyKey, answer_with
from holdfast.api.dependencies import Owner, Session
from holdfast.api.job_views import checked_job
from holdfast.api.problems import Refused
from holdfast.api.services import Services, reading, services_of
from holdfast.api.waiting import Prefer, answer_with_end, ended_job
from holdfast.errors import InvalidArgument, InvalidArguments, UnknownTask
from holdfast.jobs import keys, queries, retrying
from holdfast.jobs.accepted import JobAccepted
from holdfast.jobs.models import Job
from holdfast.jobs.options import JobOptions
from holdfast.jobs.retrying import RetryRequest
from holdfast.jobs.task import Task
from holdfast.schemas import EndedJob, JobRequest, TaskRequest
from holdfast.states import Steps


async def submit_job(
    body: JobRequest,
    request: Request,
    response: Response,
    owner: Owner,
    key: IdempotencyKey,
    prefer: Prefer = None,
) -> JobAccepted | Response:
    """Ask for work by the name of its task. Only tasks that the application has exposed can be asked for."""
    task = exposed_task(request, body.task)
    options = replace(options_of(body, owner, key), metadata=body.metadata, notify=body.notify)
    with located("body", "args"):
        job = task.new_job(body.args, options)
    accepted = await services_of(request).gathering.submit(task, job)
    return await _ended(request, accepted, prefer) or answer_with(response, accepted)


async def retry_job(
    job_id: UUID,
    request: Request,
    response: Response,
    owner: Owner,
    session: Session,
    key: IdempotencyKey,
    steps: Annotated[
        Steps, Query(description="Whether results of steps that were saved are kept, or steps run again.")
    ] = Steps.KEEP,
    prefer: Prefer = None,
) -> JobAccepted | Response:
    """Make a new job that does what a failed or cancelled one asked for. The old one stays as it is; the two
    are linked by `retry_of` and `retries`.
    """  # noqa: D205 - shown whole as the operation's description
    services = services_of(request)
    async with reading(services.holdfast.database) as own:
        dead = checked_job(await own.run_sync(queries.get_job, job_id), owner)
    accepted = await retry_dead(services, session, dead, RetryRequest(job_id, steps, key))
    # Committed here, so that it can be waited for.
    await session.commit()
    return await _ended(request, accepted, prefer) or answer_with(response, accepted)


async def retry_dead(
    services: Services, session: AsyncSession, dead: Job, asked: RetryRequest
) -> JobAccepted:
    """Retry a job whatever it does: a document's has its own way. Raises what `retrying.retry` does."""
    task = services.holdfast.tasks[dead.task]
    documents = services.documents
    if documents is not None and task is documents.ingest_document:
        return await documents.retry(session, dead, asked)
    return await session.run_sync(lambda sync: retrying.retry(sync, task, dead, asked))


async def _ended(request: Request, accepted: JobAccepted, prefer: str | None) -> Response | None:
    """The answer with the whole job, if it ends in time."""
    job = await ended_job(request, accepted.job_id, prefer)
    if job is None:
        return None
    ended = EndedJob(job_id=job.id, status=job.status, created=accepted.created, job=job)
    return answer_with_end(ended, prefer)


def exposed_task(request: Request, name: str) -> Task[..., Any]:
    """The task of this name, if it can be asked for over HTTP; raises `Refused` (`unknown_task`)."""
    try:
        task = services_of(request).holdfast.tasks[name]
    except UnknownTask:
        task = None
    # One answer for both: which tasks there are besides is nobody's business.
    if task is None or not task.options.exposed:
        raise Refused("unknown_task", "No task of this name can be asked for over HTTP.")
    return task


def options_of(body: TaskRequest, owner: keys.Owner, key: str | None) -> JobOptions:
    """What the request says of its jobs, or of each of them, besides arguments and metadata.

    Raises:
        InvalidArguments: it cannot be, such as a deadline that is over before the job may start.
    """
    return JobOptions(
        owner=owner,
        delay=body.delay,
        run_at=body.run_at,
        priority=body.priority,
        idempotency_key=key,
        timeout=body.timeout,
        deadline=body.deadline,
        start_by=body.start_by,
    )


@contextmanager
def located(*prefix: str) -> Iterator[None]:
    """Say where in the request the arguments stand that do not fit."""
    try:
        yield
    except InvalidArguments as error:
        misfits = [
            InvalidArgument((*prefix, *misfit.location), misfit.message, misfit.type)
            for misfit in error.arguments
        ]
        raise InvalidArguments(error.message, misfits) from error
