"""What the API answered that it would not do, as the error it would have been here."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from holdfast.errors import (
    CarrierUnavailable,
    DatabaseUnavailable,
    HoldfastError,
    IdempotencyConflict,
    InvalidArgument,
    InvalidArguments,
    NotRetryable,
    ProviderError,
    RequestRefused,
    StorageUnavailable,
    UnknownTask,
    UploadMissing,
)

# Not Holdfast's own: what stands before it, such as a proxy, is busy or has nobody to ask.
_PASSING: Final = frozenset({429, 502, 503, 504})
_BY_CODE: Final[dict[str, type[HoldfastError]]] = {
    error.code: error
    for error in (
        CarrierUnavailable,
        DatabaseUnavailable,
        NotRetryable,
        StorageUnavailable,
        UnknownTask,
        UploadMissing,
    )
}
_ABOUT_ARGUMENTS: Final = {error.code: error for error in (IdempotencyConflict, InvalidArguments)}


def error_of(response: httpx.Response) -> HoldfastError:
    """The error that a refusal stands for; its note tells the status and the request's id."""
    problem = object_of(response)
    error = _error(response, problem)
    request_id = problem.get("request_id") or response.headers.get("X-Request-ID")
    error.add_note(f"HTTP status {response.status_code}, request {request_id or 'without an id'}")
    return error


def is_passing(response: httpx.Response) -> bool:
    """Whether the same request may succeed later."""
    retryable = object_of(response).get("retryable")
    return retryable if isinstance(retryable, bool) else response.status_code in _PASSING


def retry_after(response: httpx.Response) -> timedelta | None:
    """When to ask again, as far as the response says so, in seconds or by the clock."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return timedelta(seconds=int(text[:9]))
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(timedelta(), when - datetime.now(UTC))


def object_of(response: httpx.Response) -> dict[str, Any]:
    """The response's JSON object; an empty one if it has none."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _error(response: httpx.Response, problem: Mapping[str, Any]) -> HoldfastError:
    status, code = response.status_code, str(problem.get("code") or response.status_code)
    detail = problem.get("detail") or problem.get("title")
    message = f"HTTP status {status}" if detail is None else str(detail)
    if code in _BY_CODE:
        return _BY_CODE[code](message)
    if code in _ABOUT_ARGUMENTS:
        return _ABOUT_ARGUMENTS[code](message, _misfits(problem))
    if code == ProviderError.code:
        passing = is_passing(response)
        return ProviderError(message, retryable=passing, status=status, retry_after=retry_after(response))
    return RequestRefused(
        message,
        code=code,
        status=status,
        retryable=is_passing(response),
        retry_after=retry_after(response),
        request_id=problem.get("request_id"),
    )


def _misfits(problem: Mapping[str, Any]) -> list[InvalidArgument]:
    return [
        InvalidArgument(tuple(map(str, field["location"])), str(field["message"]), str(field["type"]))
        for field in problem.get("errors") or ()
    ]
