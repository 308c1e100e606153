"""Failed jobs by what was wrong, and retrying all that failed alike."""

from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session as SyncSession
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.services import Services, reading, services_of
from holdfast.api.submission import retry_dead
from holdfast.dashboard.answers import answer
from holdfast.errors import HoldfastError
from holdfast.jobs import failures, queries
from holdfast.jobs.failures import Likeness
from holdfast.jobs.retrying import RetryRequest
from holdfast.schemas import StorableText

# Jobs that are retried in one request: the page asks again and shows how far it is.
_TOGETHER: Final = 25


class RetryGroupRequest(BaseModel):
    """Which jobs to retry; `before` goes on where the last request ended."""

    model_config = ConfigDict(extra="forbid")

    task: StorableText
    code: StorableText
    likeness: StorableText
    before: UUID | None = None


async def list_groups(request: Request) -> Response:
    """The groups that failed last, counted among the newest failures."""
    async with reading(services_of(request).holdfast.database) as session:
        groups = await session.run_sync(failures.groups)
    return answer({"data": [asdict(group) for group in groups], "looked_at": failures.LOOKED_AT})


async def retry_some(body: RetryGroupRequest, request: Request) -> Response:
    """Retry the next jobs of a group that were not retried yet, each on its own.

    `refused` says why some could not be; `last_id` is `null` when there are no more.
    """
    services = services_of(request)
    alike = Likeness(body.task, body.code, body.likeness)

    def find(session: SyncSession) -> list[UUID]:
        return failures.members(session, alike, most=_TOGETHER, before=body.before)

    async with reading(services.holdfast.database) as session:
        job_ids = await session.run_sync(find)
    reasons = [await _retry(services, job_id) for job_id in job_ids]
    refused = sorted({reason for reason in reasons if reason is not None})
    outcome: dict[str, Any] = {
        "retried": reasons.count(None),
        "refused": len(reasons) - reasons.count(None),
        "reasons": refused[:5],
        "last_id": job_ids[-1] if len(job_ids) == _TOGETHER else None,
    }
    return answer(outcome, 202)


async def _retry(services: Services, job_id: UUID) -> str | None:
    """Retry a job; returns why it could not be."""
    async with services.holdfast.database.async_session() as session:
        dead = await session.run_sync(queries.get_job, job_id)
        if dead is None:
            return "The job was deleted."
        try:
            await retry_dead(services, session, dead, RetryRequest(job_id))
        except HoldfastError as error:
            return error.message
        await session.commit()
    return None
