"""The jobs of all owners: lists, one with its history, and what can be done with it."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Query
from sqlalchemy import text
from sqlalchemy.orm import Session as SyncSession
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.dependencies import Session
from holdfast.api.events.looking import attempts_of
from holdfast.api.events.routes import LastEventId, event_id_of, stream_job
from holdfast.api.problems import Refused
from holdfast.api.services import connected, reading, services_of
from holdfast.api.submission import retry_dead
from holdfast.dashboard.answers import answer
from holdfast.dashboard.sessions import Visitor
from holdfast.jobs import keys, looking, queries, store
from holdfast.jobs.queries import JobFilter
from holdfast.jobs.retrying import RetryRequest
from holdfast.schemas import StorableText
from holdfast.states import JobStatus, Steps

# Longer values are left to the API: a browser would show them slowly, and nobody reads them.
_SHOWN_BYTES: Final = 100_000
_ATTEMPTS_SHOWN: Final = 200
_STEPS_SHOWN: Final = 500
_CHILDREN_SHOWN: Final = 100

_JOB = text("""
    SELECT jobs.id, task, queue, priority, status, error, progress, metadata, attempt, failures, max_attempts,
        crashes, worker, jobs.created_at, run_at, started_at, completed_at, cancel_requested_at, deadline,
        parent_id, batch_id, retry_of, origin_id, api_keys.name AS owner
    FROM holdfast.jobs LEFT JOIN holdfast.api_keys ON api_keys.id = owner_id WHERE jobs.id = :job_id
""")
_VALUE = "CASE WHEN pg_column_size({0}) <= :most THEN {0} END AS value, pg_column_size({0}) AS bytes"
_RESULT = text(f"SELECT {_VALUE.format('result')} FROM holdfast.jobs WHERE id = :job_id")  # noqa: S608
_ARGUMENTS = text(f"SELECT {_VALUE.format('args')} FROM holdfast.jobs WHERE id = :job_id")  # noqa: S608
_ATTEMPTS = text("""
    SELECT attempt, worker, process, started_at, ended_at, outcome, error FROM holdfast.attempts
    WHERE job_id = :job_id ORDER BY attempt DESC LIMIT :most
""")
_STEPS = text("""
    SELECT name, key, attempt, started_at, ended_at FROM holdfast.steps
    WHERE job_id = :origin_id ORDER BY started_at, name LIMIT :most
""")
_CHILDREN = text("""
    SELECT id, task, status FROM holdfast.jobs WHERE parent_id = :job_id ORDER BY id LIMIT :most
""")
_RETRIES = text("SELECT id FROM holdfast.jobs WHERE retry_of = :job_id ORDER BY id LIMIT :most")


async def list_jobs(
    request: Request,
    status: JobStatus | None = None,
    task: StorableText | None = None,
    queue: StorableText | None = None,
    error: StorableText | None = None,
    owner: StorableText | None = None,
    batch: UUID | None = None,
    parent: UUID | None = None,
    before: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Response:
    """The newest jobs that the filters let through; `looked_to` is where to look on."""

    def look(session: SyncSession) -> looking.Found:
        owner_id = None if owner is None else _owner_id(session, owner)
        where = JobFilter(owner_id, status, task, queue, error, batch, parent)
        return looking.look(session, where, limit=limit, before=before)

    async with reading(services_of(request).holdfast.database) as session:
        found = await session.run_sync(look)
    return answer({"data": found.rows, "looked_to": found.looked_to})


async def get_job(job_id: UUID, request: Request) -> Response:
    """A job with attempts, steps and children, all but its arguments."""
    holdfast = services_of(request).holdfast
    async with reading(holdfast.database) as session:
        job = await session.run_sync(_whole, job_id)
    if job["status"] == JobStatus.PROCESSING:
        job["progress"] = await holdfast.progress.read(job_id) or job["progress"]
    return answer(job)


async def watch_job(
    job_id: UUID, request: Request, visitor: Visitor, last_event_id: LastEventId = None
) -> Response:
    """What happens to the job, as its owner is told it (`text/event-stream`)."""
    services = services_of(request)
    async with connected(services.holdfast.database) as connection:
        job = (await connection.execute(queries.SHOWN_JOB, {"job_id": job_id})).one_or_none()
        if job is None:
            raise _no_job()
        attempts = (await attempts_of(connection, [job_id]))[job_id]
    return stream_job(services, visitor, job, attempts, event_id_of(last_event_id))


async def get_arguments(job_id: UUID, request: Request) -> Response:
    """What the job was asked for with, for who asks."""
    async with reading(services_of(request).holdfast.database) as session:
        row = (await session.execute(_ARGUMENTS, {"job_id": job_id, "most": _SHOWN_BYTES})).one_or_none()
    if row is None:
        raise _no_job()
    return answer({"value": row.value, "bytes": row.bytes})


async def cancel_job(job_id: UUID, session: Session) -> Response:
    """Cancel a queued job, ask a running one to stop, leave a finished one alone."""
    status = await session.run_sync(store.cancel, job_id)
    if status is None:
        raise _no_job()
    return answer({"status": status}, 202)


async def retry_job(
    job_id: UUID, request: Request, session: Session, steps: Steps = Steps.KEEP
) -> dict[str, object]:
    """Make a job for the same owner that does again what a dead one asked for."""
    services = services_of(request)
    async with reading(services.holdfast.database) as own:
        dead = await own.run_sync(queries.get_job, job_id)
    if dead is None:
        raise _no_job()
    accepted = await retry_dead(services, session, dead, RetryRequest(job_id, steps))
    return {"job_id": accepted.job_id}


def _whole(session: SyncSession, job_id: UUID) -> dict[str, Any]:
    found = session.execute(_JOB, {"job_id": job_id}).mappings().one_or_none()
    if found is None:
        raise _no_job()
    job = dict(found)
    given = {"job_id": job_id, "origin_id": job["origin_id"] or job_id, "most": _SHOWN_BYTES}

    def rows(statement: Any, most: int) -> list[dict[str, Any]]:  # noqa: ANN401 - SQLAlchemy's text
        return [dict(each) for each in session.execute(statement, {**given, "most": most}).mappings()]

    return {
        **job,
        "result": dict(session.execute(_RESULT, given).mappings().one()),
        "attempts": rows(_ATTEMPTS, _ATTEMPTS_SHOWN)[::-1],
        "steps": rows(_STEPS, _STEPS_SHOWN),
        "children": rows(_CHILDREN, _CHILDREN_SHOWN),
        "retries": [each["id"] for each in rows(_RETRIES, _CHILDREN_SHOWN)],
    }


def _owner_id(session: SyncSession, prefix: str) -> UUID:
    owner_id = keys.find_id(session, prefix)
    if owner_id is None:
        raise Refused("not_found", "There is no key with this prefix.")
    return owner_id


def _no_job() -> Refused:
    return Refused("job_not_found", "No job has this id.")
