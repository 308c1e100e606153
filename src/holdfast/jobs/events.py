"""Events: what a job's watchers see of it, and how they are numbered.

The id of an event is `attempt * ATTEMPT + n`. `job.queued` is 1, the start of an attempt has n = 0, what the
attempt says of itself counts from 1, and its end has the last n there is. A job that ends while it is queued
ends with the start that its next attempt would have had. So every change of a job can be told from PostgreSQL
alone, whoever looks, and nothing has to be written for it.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from pydantic import JsonValue

from holdfast.jobs.store import Claim

ATTEMPT: Final = 1_000_000_000
QUEUED_ID: Final = 1

QUEUED: Final = "job.queued"
STARTED: Final = "job.started"
PROGRESS: Final = "job.progress"
RETRYING: Final = "job.retrying"
COMPLETED: Final = "job.completed"
FAILED: Final = "job.failed"
CANCELLED: Final = "job.cancelled"
OUTPUT_DELTA: Final = "output.delta"
USAGE: Final = "usage"

MAX_DATA_BYTES: Final = 16_384
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
# Those of Holdfast itself, which say what is so.
_RESERVED: Final = re.compile(r"job\..*|snapshot|error|message|open")


def started_id(attempt: int) -> int:
    """The id of the start of this attempt."""
    return attempt * ATTEMPT


def ended_id(attempt: int) -> int:
    """The id of the end of this attempt."""
    return attempt * ATTEMPT + ATTEMPT - 1


@dataclass(frozen=True)
class LiveEvent:
    """Something that an attempt says of itself. It is numbered when it is written.

    Attributes:
        claim: the attempt.
        numbers: of its events, the next one first.
        data: as it was given.
        encoded: the data as JSON.
    """

    claim: Claim
    numbers: Iterator[int]
    name: str
    data: Mapping[str, Any]
    encoded: bytes


class EventSink(Protocol):
    """Tells whoever watches of what happens to jobs. Waits for nobody, and deals with its own failures."""

    def tell(self, claim: Claim, name: str) -> None:
        """An attempt has begun, or it has ended and that is written."""
        ...

    def look_at(self, job_ids: Collection[UUID]) -> None:
        """Something has become of these jobs, which PostgreSQL knows."""
        ...

    def emit(self, event: LiveEvent) -> None:
        """An attempt says something of itself."""
        ...

    def flush(self) -> None:
        """Wait until what was emitted so far is told, a second at most."""
        ...


class Unwatched:
    """Where nobody watches."""

    def tell(self, claim: Claim, name: str) -> None:
        """Nothing."""

    def look_at(self, job_ids: Collection[UUID]) -> None:
        """Nothing."""

    def emit(self, event: LiveEvent) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""


UNWATCHED: Final = Unwatched()


def encode(name: str, data: Mapping[str, JsonValue]) -> bytes:
    """The data of an event of this name that a task may emit, as JSON.

    Raises:
        ValueError: the name is not one for a task's events, or the data is not a JSON object, or too large.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"An event is called by 1 to 64 of a-z, 0-9, _, . and -, not {name!r}.")
    if _RESERVED.fullmatch(name):
        raise ValueError(f"Events called {name!r} are Holdfast's own.")
    if not isinstance(data, Mapping):
        raise ValueError(f"The data of an event is a mapping, not {type(data).__name__}.")  # noqa: TRY004
    encoded = encode_data(dict(data))
    if len(encoded) > MAX_DATA_BYTES:
        raise ValueError(f"The data of an event takes {MAX_DATA_BYTES} bytes at most, not {len(encoded)}.")
    return encoded


def encode_data(data: dict[str, Any]) -> bytes:
    """The data as JSON, on one line; raises `ValueError` if it is none."""
    try:
        text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The data of an event is JSON: {error}") from error
