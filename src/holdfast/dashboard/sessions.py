"""Who looks at the dashboard: signing in by an API key, the cookie that stands for it, and the two roles.

The cookie is not sent along from other sites, is out of reach of scripts, and is taken by nothing but the
dashboard. What changes something needs a header besides that no other site's page can send.
"""

from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from holdfast.api.dependencies import Session
from holdfast.api.problems import Refused
from holdfast.api.services import reading, services_of
from holdfast.dashboard.answers import PRIVATE, answer
from holdfast.jobs import keys, sign_ins

COOKIE: Final = "holdfast_session"
PATH: Final = "/dashboard"
# A page of another site can send a form here with it left out, or ask whether it may send it and be told no.
HEADER: Final = "X-Holdfast-Dashboard"
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_MAX_SECRET: Final = 200


class SignInRequest(BaseModel):
    """An API key with the scope `admin` or `viewer`."""

    model_config = ConfigDict(extra="forbid")

    key: SecretStr


async def same_origin(request: Request) -> None:
    """Let nothing be changed but by a page of the dashboard itself.

    Raises:
        Refused: another page asks, or none that says so (`forbidden`).
    """
    if request.method in _SAFE_METHODS:
        return
    origin = urlsplit(request.headers.get("Origin", "")).netloc
    if HEADER not in request.headers or origin != request.headers.get("Host"):
        raise Refused("forbidden", "This can be asked for by the dashboard's own pages only.")


async def not_stored(response: Response) -> None:
    """Let nobody on the way keep an answer."""
    response.headers.update(PRIVATE)


async def signed_in(connection: HTTPConnection) -> keys.Owner:
    """The owner of the key that the browser was signed in with, whose scopes say the role.

    Raises:
        Refused: it is not signed in, or not any more (`unauthenticated`).
    """
    owner = await _find(connection)
    if owner is None:
        raise Refused("unauthenticated", "Sign in with an API key.")
    return owner


async def signed_in_as_admin(owner: Annotated[keys.Owner, Depends(signed_in)]) -> keys.Owner:
    """The same, if the role may change something.

    Raises:
        Refused: it may only look (`forbidden`).
    """
    if keys.ADMIN not in owner.scopes:
        raise Refused("forbidden", f"This needs a key with the scope `{keys.ADMIN}`; yours may only look.")
    return owner


Visitor = Annotated[keys.Owner, Depends(signed_in)]
"""Who is signed in, in any role."""

Admin = Annotated[keys.Owner, Depends(signed_in_as_admin)]
"""Who is signed in, and may change something."""


async def sign_in(body: SignInRequest, request: Request, session: Session) -> Response:
    """Give the browser a cookie that stands for the key."""
    token = body.key.get_secret_value()
    owner = await session.run_sync(keys.find_owner, token) if _is_sane(token) else None
    if owner is None:
        raise Refused("unauthenticated", "The API key is unknown, revoked or expired.")
    if not {keys.ADMIN, keys.VIEWER}.intersection(owner.scopes):
        raise Refused(
            "forbidden", f"The dashboard needs a key with the scope `{keys.ADMIN}` or `{keys.VIEWER}`."
        )
    secret = await session.run_sync(sign_ins.sign_in, owner)
    response = answer(_shown(request, owner))
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(sign_ins.LIFETIME.total_seconds()),
        path=PATH,
        # As the browser sees it: a proxy in between may speak HTTP to this server.
        secure=request.headers.get("Origin", "").startswith("https:"),
        httponly=True,
        samesite="strict",
    )
    return response


async def get_session(request: Request) -> Response:
    """Who is signed in; nobody is an ordinary answer."""
    owner = await _find(request)
    return answer({"name": None} if owner is None else _shown(request, owner))


async def sign_out(request: Request, response: Response, session: Session) -> None:
    """Make the cookie worthless, and take it from the browser."""
    secret = request.cookies.get(COOKIE)
    if secret is not None and _is_sane(secret):
        await session.run_sync(sign_ins.sign_out, secret)
    response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")


async def _find(connection: HTTPConnection) -> keys.Owner | None:
    secret = connection.cookies.get(COOKIE)
    if secret is None or not _is_sane(secret):
        return None
    async with reading(services_of(connection).holdfast.database) as session:
        return await session.run_sync(sign_ins.find_signed_in, secret)


def _is_sane(secret: str) -> bool:
    return secret.isascii() and "\0" not in secret and len(secret) <= _MAX_SECRET


def _shown(connection: HTTPConnection, owner: keys.Owner) -> dict[str, object]:
    services = services_of(connection)
    return {
        "name": owner.name,
        "role": keys.ADMIN if keys.ADMIN in owner.scopes else keys.VIEWER,
        "has_documents": services.documents is not None,
    }
