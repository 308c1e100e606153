"""Waiting for a job's end before a request is answered: `?wait=N` and `Prefer: wait=N` (RFC 7240)."""

import asyncio
import re
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row
from starlette.requests import Request

from holdfast.api.events.hub import Hub
from holdfast.api.events.stream import Stream
from holdfast.api.problems import Refused
from holdfast.api.services import connected, services_of
from holdfast.jobs import queries
from holdfast.states import JobStatus

MAX_WAIT_SECONDS: Final = 60
_TOO_MANY: Final = "This API key has as many event streams open as it may have. Close some, or wait."
_WAIT: Final = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(;.*)?', re.IGNORECASE)


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
    hub = services_of(request).hub
    if JobStatus(job.status).is_terminal:
        return job
    enter(hub, job.owner_id)
    # A client that has left needs no answer.
    left = asyncio.ensure_future(_leaving(request))
    try:
        await hub.wait_for_end(job, seconds, left)
    finally:
        left.cancel()
        hub.opened.leave(job.owner_id)
    return await read_job(request, job.id)


def enter(hub: Hub, owner_id: UUID, stream: Stream | None = None) -> None:
    """Count a stream, or a wait, of this owner; raises `Refused` (`too_many_streams`)."""
    if not hub.opened.enter(owner_id, stream):
        raise Refused("too_many_streams", _TOO_MANY)


async def _leaving(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
