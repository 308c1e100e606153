"""`/v1/jobs`: what became of the work that was asked for."""

import hashlib
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime
from sqlalchemy import Row, event
from sqlalchemy.orm import Session as SyncSession
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api import examples
from holdfast.api.accepting import accepted_answers
from holdfast.api.dependencies import PRIVATE, Owner, Session, private
from holdfast.api.examples import answers
from holdfast.api.job_views import checked_job, fields_of, job_url, newest_progress, view_of, waiting_headers
from holdfast.api.limited_bodies import LimitedBodyRoute
from holdfast.api.openapi import operation_id, problem_responses
from holdfast.api.problems import Refused
from holdfast.api.services import connected, reading, services_of
from holdfast.api.submission import retry_job, submit_job
from holdfast.api.waiting import MAX_WAIT_SECONDS, ended_within, read_job
from holdfast.jobs import keys, queries, store
from holdfast.jobs.accepted import JobAccepted
from holdfast.schemas import AttemptList, AttemptView, EndedJob, JobPage, JobView, StorableText
from holdfast.states import JobStatus

_RETRY_AFTER: Final = {
    "description": "Seconds until it is worth asking again, while the job is not finished.",
    "schema": {"type": "integer"},
}
_REVALIDATION: Final[dict[int | str, dict[str, Any]]] = {
    **answers(
        200,
        examples.JOB,
        headers={
            "ETag": {"description": "Weak; for `If-None-Match`.", "schema": {"type": "string"}},
            "Retry-After": _RETRY_AFTER,
        },
    ),
    304: {"description": "Nothing has changed since the `ETag` in `If-None-Match`"},
}
_CANCELLING: Final = answers(
    202,
    examples.CANCELLED_JOB,
    headers={
        "Location": {"description": "The job.", "schema": {"type": "string"}},
        "Retry-After": _RETRY_AFTER,
    },
)


def get_jobs_router() -> APIRouter:
    """The routes under `/v1/jobs`, for an application that `attach` was called for."""
    router = APIRouter(
        prefix="/v1/jobs",
        tags=["jobs"],
        generate_unique_id_function=operation_id,
        route_class=LimitedBodyRoute,
    )
    uncached = [Depends(private)]
    accepted = accepted_answers(examples.ACCEPTED_JOB, "job", JobAccepted | EndedJob)
    router.post(
        "",
        status_code=202,
        response_model=JobAccepted,
        responses={**accepted, **problem_responses(400, 401, 404, 413, 422, 503)},
    )(submit_job)
    of_all_jobs = {**answers(200, examples.JOBS), **problem_responses(401, 422, 503)}
    router.get("", response_model=JobPage, responses=of_all_jobs)(list_jobs)
    router.get(
        "/{job_id}",
        response_model=JobView,
        responses={**_REVALIDATION, **problem_responses(401, 403, 404, 422, 429, 503)},
    )(get_job)
    of_one_job = problem_responses(401, 403, 404, 422, 503)
    router.get(
        "/{job_id}/attempts",
        responses={**answers(200, examples.ATTEMPTS), **of_one_job},
        dependencies=uncached,
    )(list_attempts)
    router.post("/{job_id}/cancel", status_code=202, responses={**_CANCELLING, **of_one_job})(cancel_job)
    router.post(
        "/{job_id}/retry",
        status_code=202,
        response_model=JobAccepted,
        responses={**accepted, **problem_responses(401, 403, 404, 409, 422, 503)},
    )(retry_job)
    return router


async def get_job(
    job_id: UUID,
    request: Request,
    owner: Owner,
    wait: Annotated[
        int, Query(ge=0, description="Seconds to wait for its end before answering, 60 at most.")
    ] = 0,
) -> Response:
    """A job's status, live progress, result or error."""
    holdfast = services_of(request).holdfast
    job = checked_job(await read_job(request, job_id), owner)
    if wait:
        job = checked_job(await ended_within(request, job, min(wait, MAX_WAIT_SECONDS)), owner)
    progress = await newest_progress(job, holdfast.progress)
    body = view_of(job, progress).model_dump_json().encode()
    etag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": etag, **PRIVATE, **waiting_headers(job)}
    if _matches(request.headers.get("If-None-Match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


async def list_jobs(
    request: Request,
    owner: Owner,
    status: JobStatus | None = None,
    task: StorableText | None = None,
    queue: StorableText | None = None,
    error: Annotated[
        StorableText | None, Query(description="The code of the error that the job failed with.")
    ] = None,
    batch_id: UUID | None = None,
    parent_id: UUID | None = None,
    was_retried: Annotated[bool | None, Query(description="Whether another job retries it.")] = None,
    created_after: AwareDatetime | None = None,
    created_before: AwareDatetime | None = None,
    completed_after: AwareDatetime | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[UUID | None, Query(description="Continue with jobs older than this.")] = None,
    after: Annotated[UUID | None, Query(description="Only the next jobs newer than this.")] = None,
) -> Response:
    """The jobs of this API key, newest first. Progress is as saved, up to a second old."""
    if before is not None and after is not None:
        raise Refused("invalid_request", "Give `before` or `after`, not both.")
    where = queries.JobFilter(
        owner.id,
        status,
        task,
        queue,
        error,
        batch_id,
        parent_id,
        was_retried,
        created_after,
        created_before,
        completed_after,
    )
    # One more than asked for tells whether there are more.
    page = queries.Page(where, limit + 1, before, after)
    async with connected(services_of(request).holdfast.database) as connection:
        jobs = page.in_order((await connection.execute(*page.query())).all())
    shown = jobs[:limit] if after is None else jobs[-limit:]
    found = {
        "data": [fields_of(job, job.progress) for job in shown],
        "has_more": len(jobs) > limit,
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
    }
    # Written out here: FastAPI would look through it all once more.
    body = JobPage.model_validate(found).model_dump_json()
    return Response(body, headers=PRIVATE, media_type="application/json")


async def cancel_job(
    job_id: UUID, request: Request, response: Response, owner: Owner, session: Session
) -> JobView:
    """Ask a job to stop. A queued job is cancelled at once, a processing one when its task notices; a
    finished job is left alone. Asking again changes nothing.
    """  # noqa: D205 - shown whole as the operation's description
    job = await session.run_sync(_cancel, owner, job_id)
    told = services_of(request).holdfast.events
    event.listen(session.sync_session, "after_commit", lambda _: told.look_at([job_id]), once=True)
    response.headers.update({"Location": job_url(job_id), **waiting_headers(job)})
    return view_of(job, job.progress)


async def list_attempts(job_id: UUID, request: Request, owner: Owner) -> AttemptList:
    """A job's executions, first to last."""
    async with reading(services_of(request).holdfast.database) as session:
        await session.run_sync(_owned, owner, job_id)
        attempts = await session.run_sync(queries.list_attempts, job_id)
    return AttemptList(data=[AttemptView.model_validate(attempt) for attempt in attempts])


def _owned(session: SyncSession, owner: keys.Owner, job_id: UUID) -> Row[Any]:
    found = session.execute(queries.SHOWN_JOB, {"job_id": job_id})
    return checked_job(found.one_or_none(), owner)


def _cancel(session: SyncSession, owner: keys.Owner, job_id: UUID) -> Row[Any]:
    _owned(session, owner, job_id)
    store.cancel(session, job_id)
    return _owned(session, owner, job_id)


def _matches(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    # Weak comparison (RFC 9110, section 8.8.3.2): the prefix W/ does not count.
    strong = etag.removeprefix("W/")
    candidates = (candidate.strip().removeprefix("W/") for candidate in if_none_match.split(","))
    return any(candidate in ("*", strong) for candidate in candidates)
