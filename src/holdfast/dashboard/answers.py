"""How the dashboard's JSON is written."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response

PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def answer(value: Mapping[str, Any], status: int = 200) -> Response:
    """JSON of plain values, times, ids and dataclasses; nobody keeps it."""
    body = orjson.dumps(value, default=_whole_number)
    return Response(body, status, PRIVATE, media_type="application/json")


def _whole_number(value: object) -> str:
    """What is left: whole numbers of more than 64 bits, which browsers know no better than as text."""
    if isinstance(value, int):
        return str(value)
    raise TypeError
