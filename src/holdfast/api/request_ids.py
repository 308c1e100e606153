"""A name for every request: taken from the client or made, sent back, and written to the log.

The logger `holdfast.access` has one line a request at level INFO; it takes the place of the server's own.
"""

import logging
import os
import re
import time
from typing import Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

access = logging.getLogger("holdfast.access")

HEADER: Final = "X-Request-ID"
_HEADER_BYTES: Final = HEADER.lower().encode()
_SANE: Final = re.compile(rb"[A-Za-z0-9._:+/=-]{1,100}")
_STATE_KEY: Final = "holdfast_request_id"


class RequestIds:
    """ASGI middleware that gives each request its id.

    A client's own `X-Request-ID` is kept if it is at most 100 letters, digits and `._:+/=-`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _requested(scope) or os.urandom(12).hex()
        scope.setdefault("state", {})[_STATE_KEY] = request_id
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                headers.setdefault(HEADER, request_id)
                if access.isEnabledFor(logging.INFO):
                    _log(scope, message["status"], time.perf_counter() - started, request_id)
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id_of(connection: HTTPConnection) -> str:
    """The id of this request; `-` where `RequestIds` is not installed."""
    state: dict[str, str] = connection.scope.get("state", {})
    return state.get(_STATE_KEY, "-")


def _requested(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _HEADER_BYTES:
            return value.decode() if _SANE.fullmatch(value) else None
    return None


def _log(scope: Scope, status: int, seconds: float, request_id: str) -> None:
    # Quoted, so that a path cannot forge a line; without the query, which may hold what users search for.
    path = quote(scope["path"])
    access.info("%s %s %d %.1f ms request=%s", scope["method"], path, status, seconds * 1000, request_id)
