"""`Owner` and `Session`: who is asking, and the transaction of the endpoint.

@app.post("/v1/summaries", status_code=202)
async def create(body: SummaryRequest, owner: Owner, session: Session) -> JobAccepted:
    return await summarize.enqueue(session, owner=owner, document_id=body.document_id)

They work in users' own endpoints as in Holdfast's, where `attach` was called for the application.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import Depends
from fastapi.openapi.models import APIKey, APIKeyIn
from fastapi.security.base import SecurityBase
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection
from starlette.responses import Response

from holdfast.api.problems import Refused
from holdfast.api.services import reading, services_of
from holdfast.jobs import keys

PRIVATE: Final = {"Cache-Control": "private, no-cache"}
_MAX_TOKEN: Final = 200


class KeyCheck(SecurityBase):
    """The dependency behind `Owner`: it knows a key in `X-API-Key` or `Authorization: Bearer`.

    One security scheme for FastAPI, though there are two (`holdfast.api.openapi` adds the other): with a
    dependency for each of them the check of a key cost four times as much.
    """

    scheme_name = "ApiKey"
    model = APIKey(**{"in": APIKeyIn.header}, name="X-API-Key")

    async def __call__(self, connection: HTTPConnection) -> keys.Owner:
        """The owner of the key; that in `X-API-Key` if there are both.

        No transaction stays open: an endpoint may take its time before it uses its `Session`.

        Raises:
            Refused: there is no key, or not a valid one (`unauthenticated`).
        """
        token = connection.headers.get("X-API-Key") or _bearer(connection)
        if token is None:
            raise _unauthenticated("Send an API key as `X-API-Key` or `Authorization: Bearer`.", "Bearer")
        services = services_of(connection)
        owner = services.known_keys.find(token)
        if owner is not None:
            return owner
        if token.isascii() and len(token) <= _MAX_TOKEN:
            async with reading(services.holdfast.database) as session:
                owner = await session.run_sync(keys.find_owner, token)
        if owner is None:
            refusal = "The API key is unknown, revoked or expired."
            raise _unauthenticated(refusal, 'Bearer error="invalid_token"')
        services.known_keys.remember(token, owner)
        return owner


authenticate: Final = KeyCheck()


async def administrator(owner: Annotated[keys.Owner, Depends(authenticate)]) -> keys.Owner:
    """The owner of a key with the scope `admin`.

    Raises:
        Refused: the key has not got it (`forbidden`).
    """
    if keys.ADMIN not in owner.scopes:
        raise Refused("forbidden", f"This needs an API key with the scope `{keys.ADMIN}`.")
    return owner


async def transaction(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """A session that commits when the endpoint returns, and rolls back when it raises.

    It takes a connection from the pool when it is first used.
    """
    async with services_of(connection).holdfast.database.async_session() as session:
        yield session
        await session.commit()


async def private(response: Response) -> None:
    """Let no cache on the way give what one API key was answered to another."""
    response.headers.update(PRIVATE)


Owner = Annotated[keys.Owner, Depends(authenticate)]
"""The authenticated API key."""

Administrator = Annotated[keys.Owner, Depends(administrator)]
"""The authenticated API key, which has the scope `admin`."""

# `scope="function"`: committed before the response is sent. FastAPI's default would commit afterwards, and
# so could tell a client of a job that is not there, or never will be.
Session = Annotated[AsyncSession, Depends(transaction, scope="function")]
"""The endpoint's transaction: committed before the response is sent, rolled back if the endpoint raises."""


def _bearer(connection: HTTPConnection) -> str | None:
    scheme, _, token = connection.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def _unauthenticated(detail: str, challenge: str) -> Refused:
    return Refused("unauthenticated", detail, {"WWW-Authenticate": challenge})
