"""`/v1/jobs/{id}/events` and `/v1/events`: watching one job, and all of a key."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Header, Query
from sqlalchemy import Row
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api import examples
from holdfast.api.dependencies import PRIVATE, Owner
from holdfast.api.events.following import Follower
from holdfast.api.events.job_stream import JobStream
from holdfast.api.events.log_reading import JobLog
from holdfast.api.events.looking import attempts_of, encoded
from holdfast.api.events.stream import MEDIA_TYPE, TOO_SLOW, Stream, StreamResponse, frame
from holdfast.api.examples import answers
from holdfast.api.job_views import checked_job, newest_progress, view_of
from holdfast.api.openapi import operation_id, problem_responses
from holdfast.api.services import Services, connected, services_of
from holdfast.api.waiting import enter
from holdfast.jobs import keys, queries
from holdfast.jobs.lifecycle import lifecycle
from holdfast.schemas import EventLog, StorableText
from holdfast.states import JobStatus

MAX_EVENTS: Final = 1_000
MAX_SHOWN: Final = 100
_SNAPSHOTS: Final = 3
_STREAM: Final = {MEDIA_TYPE: {"schema": {"type": "string"}, "example": examples.STREAM}}
_JOBS_STREAM: Final = {MEDIA_TYPE: {"schema": {"type": "string"}, "example": examples.JOBS_STREAM}}

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="As `starting_after`, which comes first; sent by browsers."),
]
EventId = Annotated[
    int | None, Query(ge=0, le=2**53, description="Only what has happened after the event with this id.")
]


def get_events_router() -> APIRouter:
    """The routes of event streams, for an application that `attach` was called for."""
    router = APIRouter(prefix="/v1", tags=["jobs"], generate_unique_id_function=operation_id)
    of_a_job = answers(200, examples.EVENTS)
    of_a_job[200]["content"] |= _STREAM
    over: dict[int | str, dict[str, Any]] = {
        204: {"description": "The job has ended, and its end is known by the id that was given"}
    }
    router.get(
        "/jobs/{job_id}/events",
        response_model=EventLog,
        responses={**of_a_job, **over, **problem_responses(401, 403, 404, 422, 429, 503)},
    )(watch_job)
    router.get(
        "/events",
        response_class=Response,
        responses={200: {"content": _JOBS_STREAM}, **problem_responses(401, 422, 429, 503)},
    )(watch_jobs)
    return router


async def watch_job(
    job_id: UUID,
    request: Request,
    owner: Owner,
    starting_after: EventId = None,
    last_event_id: LastEventId = None,
    after: Annotated[EventId, Query(description="The same, for the events as JSON.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS, description="How many, as JSON.")] = MAX_EVENTS,
) -> Response:
    """What happens to a job, as it happens (`text/event-stream`), or so far (`application/json`).

    A stream begins with the event `snapshot`, the job as it stands, unless it goes on after an event that is
    given. It ends with `job.completed`, `job.failed` or `job.cancelled`, whose data is the whole job. A
    client that leaves cancels nothing.
    """
    services = services_of(request)
    known = starting_after if starting_after is not None else after
    async with connected(services.holdfast.database) as connection:
        found = await connection.execute(queries.SHOWN_JOB, {"job_id": job_id})
        job = checked_job(found.one_or_none(), owner)
        attempts = (await attempts_of(connection, [job_id]))[job_id]
    if _wants_json(request):
        return await _as_json(_log(services, job, attempts), known or 0, limit)
    known = event_id_of(last_event_id) if known is None else known
    return stream_job(services, owner, job, attempts, known)


def stream_job(
    services: Services, watcher: keys.Owner, job: Row[Any], attempts: list[Row[Any]], known: int | None
) -> Response:
    """The stream of a job that this key may watch, and one of the streams that the key may have."""
    log = _log(services, job, attempts)
    if log.is_ended and known == log.changes[-1].id:
        # What keeps a browser from asking again.
        return Response(status_code=204, headers=PRIVATE)
    return _stream(services, watcher, job, log, known)


async def watch_jobs(
    request: Request, owner: Owner, task: StorableText | None = None, status: JobStatus | None = None
) -> Response:
    """What happens to all jobs of this API key (`text/event-stream`): their changes, and their progress.

    A stream begins with the event `snapshot`, the newest jobs. With `status` it tells of the jobs that come
    to stand so. Whoever was away is shown another snapshot.
    """
    services = services_of(request)
    hub, follower = services.hub, Follower(Stream(), task, status)
    enter(hub, owner.id, follower.stream)
    leave = partial(hub.opened.leave, owner.id, follower.stream)
    return StreamResponse(follower.stream, _followed(services, owner, follower), leave)


def _log(services: Services, job: Row[Any], attempts: list[Row[Any]]) -> JobLog:
    is_ended = JobStatus(job.status).is_terminal
    view = view_of(job, job.progress).model_dump_json().encode() if is_ended else None
    changes = [encoded(change, view) for change in lifecycle(job, attempts)]
    return JobLog(services.hub.feed, job.id, job.attempt, changes, is_ended)


async def _as_json(log: JobLog, after: int, limit: int) -> Response:
    found = await log.read(after=after, limit=limit + 1)
    told = b",".join(
        b'{"id":%d,"event":%s,"data":%s}' % (entry.id, orjson.dumps(entry.name.decode()), entry.data)
        for entry in found[:limit]
    )
    has_more = b"true" if len(found) > limit else b"false"
    body = b'{"data":[%s],"has_more":%s}' % (told, has_more)
    return Response(body, headers=PRIVATE, media_type="application/json")


def _stream(
    services: Services, owner: keys.Owner, job: Row[Any], log: JobLog, known: int | None
) -> StreamResponse:
    hub, stream = services.hub, Stream()
    enter(hub, owner.id, stream)

    async def snapshot() -> bytes:
        async with hub.snapshots:
            progress = await newest_progress(job, services.holdfast.progress)
        return view_of(job, progress).model_dump_json().encode()

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            if not log.is_ended:
                await hub.watch(job, stream)
            async with aclosing(JobStream(hub, log, stream, snapshot).chunks(known)) as told:
                async for chunk in told:
                    yield chunk
        finally:
            hub.unwatch(job.id, stream)

    return StreamResponse(stream, chunks(), partial(hub.opened.leave, owner.id, stream))


async def _followed(services: Services, owner: keys.Owner, follower: Follower) -> AsyncGenerator[bytes, None]:
    stream = follower.stream
    try:
        await services.hub.follow(owner.id, follower)
        for _ in range(_SNAPSHOTS):
            stream.keep_anew()
            yield frame(None, "snapshot", await _newest(services, owner, follower))
            if stream.go_on(0):
                break
        else:
            stream.end(TOO_SLOW)
        async with aclosing(stream.chunks()) as live:
            async for chunk in live:
                yield chunk
    finally:
        services.hub.unfollow(owner.id, follower)


async def _newest(services: Services, owner: keys.Owner, follower: Follower) -> bytes:
    wanted = {"owner_id": owner.id, "task": follower.task, "status": follower.status}
    given = {name: value for name, value in wanted.items() if value is not None}
    query = queries.newest_jobs(frozenset(given))
    async with connected(services.holdfast.database) as connection:
        rows = (await connection.execute(query, {**given, "limit": MAX_SHOWN + 1})).all()
    shown = [
        {
            "job_id": row.id,
            "task": row.task,
            "status": row.status,
            "attempt": row.attempt,
            "progress": row.progress,
        }
        for row in rows[:MAX_SHOWN]
    ]
    return orjson.dumps({"data": shown, "has_more": len(rows) > MAX_SHOWN})


def event_id_of(told: str | None) -> int | None:
    """The id that a client names; `None` if it is none."""
    is_id = told is not None and told.isascii() and told.isdecimal() and len(told) <= 16
    return int(told) if told is not None and is_id else None


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("Accept", "")
    return "application/json" in accepted and MEDIA_TYPE not in accepted
