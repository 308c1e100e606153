"""API keys: who has one, what it is used for, new ones, and the end of one."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.dependencies import Session
from holdfast.api.problems import Refused
from holdfast.api.services import reading, services_of
from holdfast.dashboard.answers import answer
from holdfast.jobs import keys
from holdfast.jobs.ids import first_id
from holdfast.schemas import StorableText

_SHOWN: Final = 200
# More of its jobs are not counted.
_COUNTED: Final = 500

_LIST = text("""
    SELECT prefix, name, scopes, api_keys.created_at, expires_at, revoked_at,
        (least(revoked_at, expires_at) <= now()) IS TRUE AS is_over,
        newest.created_at AS last_job_at, lately.jobs
    FROM (
        SELECT * FROM holdfast.api_keys ORDER BY revoked_at IS NOT NULL, id DESC LIMIT :shown
    ) AS api_keys
    LEFT JOIN LATERAL (
        SELECT created_at FROM holdfast.jobs WHERE owner_id = api_keys.id ORDER BY id DESC LIMIT 1
    ) AS newest ON true
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM (
            SELECT FROM holdfast.jobs WHERE owner_id = api_keys.id AND id > :since
            ORDER BY id DESC LIMIT :counted
        ) AS counted
    ) AS lately
    ORDER BY (least(revoked_at, expires_at) <= now()) IS TRUE, api_keys.id DESC
""")


class KeyRequest(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[StorableText, Field(min_length=1, max_length=200, pattern=r"\S")]
    scopes: list[Literal["admin", "viewer"]] = Field(default_factory=list, max_length=2)
    expires_in_days: float | None = Field(None, gt=0, le=36_500)


async def list_keys(request: Request) -> Response:
    """The keys, newest first and those that are over last, with how many jobs came with each in a day."""
    async with reading(services_of(request).holdfast.database) as session:
        # Ids say when they were made, by the clock of whoever made them; for this that will do.
        since = first_id(datetime.now(UTC) - timedelta(days=1))
        given = {"shown": _SHOWN, "counted": _COUNTED, "since": since}
        rows = (await session.execute(_LIST, given)).mappings().all()
    return answer({"data": [dict(row) for row in rows], "counted_at_most": _COUNTED})


async def create_key(body: KeyRequest, session: Session) -> Response:
    """Make a key, which is shown now or never."""
    expires_in = None if body.expires_in_days is None else timedelta(days=body.expires_in_days)
    key, token = await session.run_sync(
        lambda sync: keys.create_key(sync, body.name, scopes=body.scopes, expires_in=expires_in)
    )
    return answer({"prefix": key.prefix, "token": token}, 201)


async def revoke_key(prefix: Annotated[StorableText, Path(max_length=20)], session: Session) -> None:
    """End a key; it works for some seconds more where it was just used."""
    if not await session.run_sync(keys.revoke_key, prefix):
        raise Refused("not_found", "There is no valid key with this prefix.")
