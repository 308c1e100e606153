"""Reading what an OpenAI-compatible provider answered: vectors out of a 200, an error out of the rest.

The format is OpenAI's API reference, "Create embeddings" and "Error codes". Compatible servers differ in
the small things: `usage` may be null, `embedding` may be floats although base64 was asked for, and a vector
of nulls has been seen from several.
"""

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from holdfast.ai.embedder import Vector
from holdfast.ai.errors import (
    MalformedReply,
    ProviderAuthError,
    QuotaExhausted,
    UnknownModel,
    WrongDimensions,
)
from holdfast.ai.halfvec import MAX_HALF
from holdfast.errors import ProviderError

INPUT_REFUSED = frozenset({400, 413, 422})
"""Statuses that may mean "this text" or "this many texts": a smaller request can succeed."""

_RETRYABLE = frozenset({408, 409, 425, 429})
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_MIN_NORM = 1e-3  # below it, the values of a long vector round to zero in half precision
_READABLE_BYTES = 65_536
_EXCERPT_CHARACTERS = 200
_SHORTEST_SECRET = 4
_LONGEST_WAIT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response, read to its end. `headers` must ignore the case of names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def read_vectors(
    reply: Reply, count: int, dimensions: int, secrets: Sequence[str]
) -> tuple[list[Vector], int | None]:
    """Return the vectors of a 200 in the order of the inputs, and the prompt tokens if it says so.

    Raises:
        MalformedReply: it is not JSON, not `count` vectors, or a vector is zero or not finite. The message
            quotes the reply without `secrets`.
        WrongDimensions: a vector has not `dimensions` floats.
    """
    try:
        document = orjson.loads(reply.body)
        rows = document["data"]
        by_index = {row["index"]: row["embedding"] for row in rows}
        tokens = _prompt_tokens(document)
        vectors = [_vector(by_index[index]) for index in range(count)]
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, struct.error) as error:
        said = excerpt(reply.body, secrets)
        # Without `from error`: what the parser says may quote what it parsed.
        raise _malformed(f"not {count} embeddings ({type(error).__name__}): {said}") from None
    if len(rows) != count or len(by_index) != count:
        raise _malformed(f"{len(rows)} embeddings for {count} texts")
    _check_dimensions(vectors, dimensions)
    return vectors, tokens


def _malformed(reason: str) -> MalformedReply:
    return MalformedReply(f"the provider's reply cannot be used: {reason}", retryable=True, status=200)


def _vector(embedding: str | list[float]) -> Vector:
    if isinstance(embedding, str):
        packed = base64.b64decode(embedding, validate=True)
        vector = list(struct.unpack(f"<{len(packed) // 4}f", packed))
    else:
        vector = embedding
    # One pass in C refuses null, NaN, infinity, the zero vector and what half precision cannot hold.
    norm = math.hypot(*vector)
    if not _MIN_NORM <= norm <= MAX_HALF:
        raise _malformed(f"an embedding has length {norm}")
    return vector


def _prompt_tokens(document: dict[str, Any]) -> int | None:
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return None
    tokens = usage.get("prompt_tokens", usage.get("total_tokens"))
    return tokens if isinstance(tokens, int) else None


def _check_dimensions(vectors: Sequence[Vector], dimensions: int) -> None:
    for vector in vectors:
        if len(vector) != dimensions:
            raise WrongDimensions(
                f"the model's vectors have {len(vector)} dimensions, not {dimensions}; change the setting",
                retryable=False,
                status=200,
            )


def error_from(reply: Reply, secrets: Sequence[str], now: datetime) -> ProviderError:
    """Return the error that a reply other than 200 stands for.

    `secrets` (the key, the texts) are blanked out of the provider's words. `now` must be aware; it serves a
    Retry-After that is a date, when the reply has no Date of its own.
    """
    status = reply.status
    reason = f"the provider answered {status}: {excerpt(reply.body, secrets)}"
    if status in (401, 403):
        return ProviderAuthError(reason, retryable=False, status=status)
    if status == 402 or (status == 429 and _error_codes(reply.body) & _QUOTA_CODES):
        return QuotaExhausted(reason, retryable=False, status=status)
    if status == 404:
        return UnknownModel(reason, retryable=False, status=status)
    retryable = status in _RETRYABLE or status >= 500
    wait = retry_after(reply.headers, now) if retryable else None
    return ProviderError(reason, retryable=retryable, status=status, retry_after=wait)


def _error_codes(body: bytes) -> set[str]:
    error = _error_object(_document(body))
    return {value for value in (error.get("code"), error.get("type")) if isinstance(value, str)}


def _document(body: bytes) -> object:
    try:
        return orjson.loads(body) if len(body) <= _READABLE_BYTES else None
    except orjson.JSONDecodeError:
        return None


def _error_object(document: object) -> dict[str, Any]:
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def excerpt(body: bytes, secrets: Sequence[str]) -> str:
    """Return at most 200 characters of the provider's own message, without any of `secrets`.

    Secrets under four characters stay: they tell nothing, and taking them out would leave nothing to read.
    """
    said = _message(body)
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            said = said.replace(secret, "[…]").replace(orjson.dumps(secret)[1:-1].decode(), "[…]")
    line = " ".join(said.split())
    return line if len(line) <= _EXCERPT_CHARACTERS else line[:_EXCERPT_CHARACTERS] + "…"


def _message(body: bytes) -> str:
    document = _document(body)
    message = _error_object(document).get("message")
    if isinstance(message, str):
        return message
    # Dumped anew, so that a text quoted in it is escaped in the one way that `excerpt` looks for.
    return (orjson.dumps(document) if document is not None else body[:_READABLE_BYTES]).decode(
        errors="replace"
    )


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return how long the provider asks to wait, between nothing and a day; `None` if it does not say.

    Reads `retry-after-ms` (OpenAI, Azure) and `Retry-After` as seconds or a date (RFC 9110, 10.2.3). A date
    is taken against the reply's own `Date`, so the two clocks need not agree.
    """
    for name, unit in (("retry-after-ms", timedelta(milliseconds=1)), ("retry-after", timedelta(seconds=1))):
        number = _number(headers.get(name))
        if number is not None:
            return unit * min(max(number, 0.0), _LONGEST_WAIT / unit)
    at = _date(headers.get("retry-after"))
    if at is None:
        return None
    return min(max(at - (_date(headers.get("date")) or now), timedelta()), _LONGEST_WAIT)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _date(value: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
