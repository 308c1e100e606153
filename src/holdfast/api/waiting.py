"""Waiting for a job's end before a request is answered: `?wait=N` and `Prefer: wait=N` (RFC 7240)."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Header
from sqlalchemy import Row
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.dependencies import PRIVATE
from holdfast.api.events.hub import Hub
from holdfast.api.events.stream import Stream
from holdfast.api.job_views import view_of
from holdfast.api.problems import Refused
from holdfast.api.services import connected, services_of
from holdfast.jobs import queries
from holdfast.jobs.accepted import BatchAccepted, JobAccepted
from holdfast.schemas import EndedDocument, JobView
from holdfast.states import JobStatus

MAX_WAIT_SECONDS: Final = 60
# Jobs of a batch that are waited for at a time: the newest, which mostly end last.
_TOGETHER: Final = 100
_TOO_MANY: Final = "This API key has as many event streams open as it may have. Close some, or wait."
_WAIT: Final = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(;.*)?', re.IGNORECASE)

Prefer = Annotated[
    str | None,
    Header(
        description="`wait=N`: answer when what was asked for has ended, with 200 and the whole of it, or "
        "after N seconds, 60 at most, as without.",
        examples=["wait=10"],
    ),
]
"""What the request would like; `preferred_wait` tells how long it would wait."""


def preferred_wait(prefer: str | None) -> int:
    """The seconds that a `Prefer` header would like to wait, 60 at most; 0 if it says nothing of it."""
    said = (_WAIT.fullmatch(preference) for preference in (prefer or "").split(","))
    return next((min(int(match[1]), MAX_WAIT_SECONDS) for match in said if match), 0)


async def read_job(request: Request, job_id: UUID) -> Row[Any] | None:
    """What may be shown of a job, whoever owns it."""
    async with connected(services_of(request).holdfast.database) as connection:
        found = await connection.execute(queries.SHOWN_JOB, {"job_id": job_id})
        return found.one_or_none()


async def ended_within(request: Request, job: Row[Any], seconds: float) -> Row[Any] | None:
    """The job once it has ended, at the latest after so long: as it is then. `None`: it was deleted.

    Raises:
        Refused: its owner has as many streams and waits open as it may have (`too_many_streams`).
    """
    if JobStatus(job.status).is_terminal:
        return job
    async with _waiting(request, job.owner_id) as left:
        await services_of(request).hub.wait_for_end(job, seconds, left)
    return await read_job(request, job.id)


async def ended_job(request: Request, job_id: UUID, prefer: str | None) -> JobView | None:
    """A job that was just accepted, once it has ended; `None`: not in time, or its owner has no wait left."""
    wait = preferred_wait(prefer)
    job = await read_job(request, job_id) if wait else None
    if job is None or services_of(request).hub.opened.is_full(job.owner_id):
        # It was accepted, and that is not to be refused because nobody can wait for it.
        return None
    job = await ended_within(request, job, wait)
    return view_of(job, job.progress) if job is not None and JobStatus(job.status).is_terminal else None


async def batch_has_ended(request: Request, owner_id: UUID, batch_id: UUID, prefer: str | None) -> bool:
    """Whether a batch that was just accepted has ended in time; `False` too: its owner has no wait left."""
    hub, wait = services_of(request).hub, preferred_wait(prefer)
    if not wait or hub.opened.is_full(owner_id):
        return False
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    async with _waiting(request, owner_id) as left:
        while jobs := await _open_jobs(request, batch_id):
            seconds = until - loop.time()
            if not all(await asyncio.gather(*(hub.wait_for_end(job, seconds, left) for job in jobs))):
                return False
    return True


def answer_with_end(ended: JobAccepted | BatchAccepted | EndedDocument, prefer: str | None) -> Response:
    """Answer with what was accepted and has ended while the answer waited for it."""
    headers = {
        **PRIVATE,
        "Location": ended.urls["batch" if isinstance(ended, BatchAccepted) else "job"],
        "Preference-Applied": f"wait={preferred_wait(prefer)}",
    }
    return Response(ended.model_dump_json(), headers=headers, media_type="application/json")


def enter(hub: Hub, owner_id: UUID, stream: Stream | None = None) -> None:
    """Count a stream, or a wait, of this owner; raises `Refused` (`too_many_streams`)."""
    if not hub.opened.enter(owner_id, stream):
        raise Refused("too_many_streams", _TOO_MANY)


@asynccontextmanager
async def _waiting(request: Request, owner_id: UUID) -> AsyncIterator["asyncio.Future[None]"]:
    """Count a wait of this owner; gives what is done once the client has left, who needs no answer then."""
    hub = services_of(request).hub
    enter(hub, owner_id)
    left = asyncio.ensure_future(_leaving(request))
    try:
        yield left
    finally:
        left.cancel()
        hub.opened.leave(owner_id)


async def _leaving(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _open_jobs(request: Request, batch_id: UUID) -> Sequence[Row[Any]]:
    given = {"batch_id": batch_id, "limit": _TOGETHER}
    async with connected(services_of(request).holdfast.database) as connection:
        return (await connection.execute(queries.UNFINISHED_OF_BATCH, given)).all()
