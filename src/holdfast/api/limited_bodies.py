"""Limits on JSON bodies, which are read whole."""

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

MAX_BODY_BYTES: Final = 1_000_000

Body = TypeVar("Body", bound=BaseModel)


class LimitedBodyRoute(APIRoute):
    """A route that refuses bodies over `MAX_BODY_BYTES` while they are read (413).

    FastAPI reads them before it asks who sent them.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler, given a request that counts its bytes."""
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handle(Request(request.scope, _counting(request.receive, MAX_BODY_BYTES)))

        return limited


async def read_body(request: Request, model: type[Body], *, max_bytes: int) -> Body:
    """A JSON body that may be long: read by the endpoint, when it is known who sent it, and parsed apart.

    Raises:
        HTTPException: it is longer than `max_bytes` (413).
        RequestValidationError: it is not what the model says.
    """
    content = await Request(request.scope, _counting(request.receive, max_bytes)).body()
    try:
        # In a thread: it takes a while, in which other requests are answered.
        return await run_in_threadpool(model.model_validate_json, content)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in errors]) from error


def _counting(receive: Receive, max_bytes: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            # FastAPI passes on this class alone from the reading of a body.
            raise HTTPException(413, f"The body may have {max_bytes} bytes at most.")
        return message

    return counted
