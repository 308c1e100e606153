"""A limit on JSON bodies: FastAPI reads them whole, and before it asks who sent them."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

MAX_BODY_BYTES: Final = 1_000_000


class LimitedBodyRoute(APIRoute):
    """A route that refuses bodies over `MAX_BODY_BYTES` while they are read (413)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler, given a request that counts its bytes."""
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handle(Request(request.scope, _counting(request.receive)))

        return limited


def _counting(receive: Receive) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            # FastAPI passes on this class alone from the reading of a body.
            raise HTTPException(413, f"The body may have {MAX_BODY_BYTES} bytes at most.")
        return message

    return counted
