"""Every error as an RFC 9457 problem: the one place where an error becomes an HTTP status.

A problem's `code` is stable and meant for programs, its `detail` is meant for people. `retryable` says
whether the same request may succeed later. What the client sent is never repeated.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from holdfast.api.request_ids import HEADER, request_id_of
from holdfast.errors import DocumentError, HoldfastError, InvalidArguments, ProviderError
from holdfast.schemas import InvalidField, Problem

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
_MAX_LISTED_FIELDS: Final = 20
_RETRY_AFTER_SECONDS: Final = 5


@dataclass(frozen=True)
class Kind:
    """What all problems of one code have in common."""

    status: int
    title: str
    retryable: bool = False


KINDS: Final[dict[str, Kind]] = {
    "malformed_body": Kind(400, "The request body cannot be read"),
    "unauthenticated": Kind(401, "A valid API key is needed"),
    "forbidden": Kind(403, "This is not for your API key"),
    "not_found": Kind(404, "There is nothing here"),
    "job_not_found": Kind(404, "There is no such job"),
    "batch_not_found": Kind(404, "There is no such batch"),
    "unknown_task": Kind(404, "There is no such task"),
    "webhook_not_found": Kind(404, "There is no such webhook"),
    "notification_not_found": Kind(404, "There is no such notification"),
    "document_not_found": Kind(404, "There is no such document"),
    "collection_not_found": Kind(404, "There is no such collection"),
    "method_not_allowed": Kind(405, "This cannot be done here"),
    "too_many_webhooks": Kind(409, "There are as many webhooks as there may be"),
    "not_retryable": Kind(409, "The job cannot be retried"),
    "upload_missing": Kind(409, "The upload is gone"),
    "body_too_large": Kind(413, "The request body is too large"),
    "upload_too_large": Kind(413, "The upload is too large"),
    "unsupported_media_type": Kind(415, "The request body is of the wrong type"),
    "unsupported_type": Kind(415, "Files of this type cannot be ingested"),
    "invalid_request": Kind(422, "The request is not valid"),
    "invalid_arguments": Kind(422, "The task's arguments are not valid"),
    "idempotency_conflict": Kind(422, "The idempotency key stands for another request"),
    "missing_file": Kind(422, "The form holds no file"),
    "several_files": Kind(422, "The form holds more than one file"),
    "invalid_file_name": Kind(422, "The file's name cannot be used"),
    "invalid_field": Kind(422, "A field of the form is not valid"),
    "empty": Kind(422, "The file is empty"),
    "too_many_streams": Kind(429, "Too many streams are open", retryable=True),
    "internal_error": Kind(500, "Something went wrong here"),
    "database_unavailable": Kind(503, "The database cannot be reached just now", retryable=True),
    "storage_unavailable": Kind(503, "Uploads cannot be stored just now", retryable=True),
    "broker_unavailable": Kind(503, "The broker cannot be reached just now", retryable=True),
}
_INTERNAL: Final = KINDS["internal_error"]
_BY_STATUS: Final = {
    400: "malformed_body",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    500: "internal_error",
}


class Refused(HoldfastError):
    """The request cannot be answered as it stands.

    Args:
        code: one of `KINDS`.
        detail: what was wrong and what to do about it, for a person.
        headers: sent with the answer.
    """

    def __init__(self, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.headers = dict(headers or {})


def install_problems(app: FastAPI) -> None:
    """Answer every error of this application with a problem.

    A handler that the application registers afterwards for one of these classes takes its place.
    """
    app.add_exception_handler(HoldfastError, _holdfast_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ClientDisconnect, _client_left)
    for unavailable in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(unavailable, _database_unavailable)
    app.add_exception_handler(Exception, _unforeseen)


def kind_of(error: HoldfastError) -> Kind:
    """What HTTP is told of an error that reached the API; the internal error for those that should not."""
    match error:
        case ProviderError(retryable=True):
            return Kind(503, "The AI provider cannot be reached just now", retryable=True)
        case ProviderError():
            return Kind(502, "The AI provider refused the request")
        case DocumentError():
            return KINDS.get(error.code, Kind(422, "The document cannot be ingested"))
        case _:
            return KINDS.get(error.code, _INTERNAL)


async def _holdfast_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HoldfastError)  # noqa: S101 - registered for this class
    kind = kind_of(error)
    if kind is _INTERNAL:
        # Not meant for callers: logged in full by the server, answered without details.
        log.error("Unexpected %s (request %s)", type(error).__name__, request_id_of(request), exc_info=error)
        return _response(request, "internal_error", kind, _INTERNAL_DETAIL)
    headers = dict(error.headers) if isinstance(error, Refused) else {}
    if isinstance(error, ProviderError) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after.total_seconds())))
    errors = _misfits(error) if isinstance(error, InvalidArguments) and error.arguments else None
    return _response(request, error.code, kind, error.message, headers=headers, errors=errors)


def _misfits(error: InvalidArguments) -> list[InvalidField]:
    return [
        InvalidField(location=list(misfit.location), message=misfit.message, type=misfit.type)
        for misfit in error.arguments[:_MAX_LISTED_FIELDS]
    ]


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    headers = dict(error.headers or {})
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=headers)
    code = _BY_STATUS.get(error.status_code, f"http_{error.status_code}")
    kind = KINDS.get(code) or Kind(error.status_code, _phrase(error.status_code))
    detail = error.detail if isinstance(error.detail, str) else kind.title
    return _response(request, code, kind, detail, headers=headers)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    # `input` and `ctx` are left out: they repeat what was sent.
    fields = [
        InvalidField(location=[str(step) for step in item["loc"]], message=item["msg"], type=item["type"])
        for item in error.errors()[:_MAX_LISTED_FIELDS]
    ]
    detail = "See `errors` for what does not fit."
    return _response(request, "invalid_request", KINDS["invalid_request"], detail, errors=fields)


async def _client_left(request: Request, _: Exception) -> Response:
    log.info("The client left before its request was whole (request %s)", request_id_of(request))
    return _response(request, "malformed_body", KINDS["malformed_body"], "The request body was cut off.")


async def _database_unavailable(request: Request, error: Exception) -> Response:
    log.warning("The database cannot be used (request %s): %s", request_id_of(request), error)
    code = "database_unavailable"
    return _response(request, code, KINDS[code], "Nothing was written. Try again in a few seconds.")


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("Unexpected %s (request %s)", type(error).__name__, request_id_of(request))
    return _response(request, "internal_error", _INTERNAL, _INTERNAL_DETAIL)


_INTERNAL_DETAIL: Final = "The error was logged under the request id."


def _response(
    request: Request,
    code: str,
    kind: Kind,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[InvalidField] | None = None,
) -> Response:
    request_id = request_id_of(request)
    problem = Problem(
        type=f"urn:holdfast:problem:{code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=code,
        request_id=request_id,
        retryable=kind.retryable,
        errors=errors,
    )
    # Another key may be answered otherwise, and a moment later this one too.
    all_headers: dict[str, Any] = {HEADER: request_id, "Cache-Control": "no-store", **(headers or {})}
    if kind.retryable:
        all_headers.setdefault("Retry-After", str(_RETRY_AFTER_SECONDS))
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, kind.status, all_headers, media_type=MEDIA_TYPE)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "The request failed"
