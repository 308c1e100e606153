"""From what happened to what is written: pure decisions, no I/O."""

import asyncio
import concurrent.futures
import traceback
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import JsonValue

from holdfast.errors import (
    HoldfastError,
    InvalidArguments,
    JobCancelled,
    PermanentError,
    ProviderError,
    Retry,
    StaleAttempt,
)
from holdfast.jobs.storable import storable_text
from holdfast.jobs.store import Claim
from holdfast.retry import RetryPolicy

# What a task that heeds a stop sign leaves with; a future of the loop's thread has an exception of its own.
STOPPED = (JobCancelled, asyncio.CancelledError, concurrent.futures.CancelledError)
MAX_MESSAGE = 2_000
MAX_TRACEBACK = 20_000


class Suspension(BaseException):
    """Raised inside a task to leave it until jobs have ended; it is then run again from its start.

    Not an `Exception`, so that a task's own handlers let it pass; its `finally` blocks run.

    Args:
        awaited_ids: the jobs to wait for.
        wakes_on_failure: the first of them that does not complete ends the wait.
    """

    def __init__(self, awaited_ids: list[UUID], *, wakes_on_failure: bool) -> None:
        super().__init__(f"waits for {len(awaited_ids)} jobs")
        self.awaited_ids = awaited_ids
        self.wakes_on_failure = wakes_on_failure


@dataclass(frozen=True)
class Succeeded:
    """The task returned; `result` is its value as JSON."""

    result: JsonValue


@dataclass(frozen=True)
class Raised:
    """The task, or the reading of its arguments or result, raised."""

    exception: BaseException


@dataclass(frozen=True)
class Complete:
    """Write the result."""

    result: JsonValue


@dataclass(frozen=True)
class Fail:
    """Write the error and end the job."""

    error: dict[str, Any]
    traceback: str


@dataclass(frozen=True)
class RetryLater:
    """Write the error and queue the job again after `delay`."""

    error: dict[str, Any]
    traceback: str
    delay: timedelta


@dataclass(frozen=True)
class Stop:
    """End the job as cancelled."""


@dataclass(frozen=True)
class HandBack:
    """Queue the job again at once, as if this attempt had not been."""


@dataclass(frozen=True)
class Suspend:
    """Queue the job until these others have ended."""

    awaited_ids: list[UUID]
    wakes_on_failure: bool


@dataclass(frozen=True)
class Abandon:
    """Write nothing: the job has moved on without this attempt."""


Outcome = Succeeded | Raised
Decision = Complete | Fail | RetryLater | Stop | HandBack | Suspend | Abandon


def decide(outcome: Outcome, claim: Claim, policy: RetryPolicy, *, cancel_requested: bool) -> Decision:
    """What to write for an attempt that ended this way.

    A task that was asked to stop but finished first keeps its result: the work is done.
    """
    match outcome:
        case Succeeded(result):
            return Complete(result)
        case Raised(StaleAttempt()):
            return Abandon()
        case Raised(Suspension() as suspension):
            return Suspend(suspension.awaited_ids, suspension.wakes_on_failure)
        case Raised(exception) if cancel_requested and isinstance(exception, STOPPED):
            return Stop()
        case Raised(exception):
            return _decide_failure(exception, claim, policy)


def _decide_failure(exception: BaseException, claim: Claim, policy: RetryPolicy) -> Decision:
    error = describe(exception, claim.attempt)
    trace = storable_text("".join(traceback.format_exception(exception)))[-MAX_TRACEBACK:]
    failures = claim.failures + 1
    if not _is_retryable(exception) or failures >= claim.max_attempts:
        return Fail(error, trace)
    asked = _asked_delay(exception)
    return RetryLater(error, trace, policy.delay_after(failures) if asked is None else asked)


def describe(exception: BaseException, attempt: int) -> dict[str, Any]:
    """A job's `error`: stable code, message, the stage that failed if it is known, and the attempt."""
    if isinstance(exception, HoldfastError):
        # `Retry(error)` is a natural thing to write: the message may be anything that can be shown.
        code, message = exception.code, _said(exception)
    else:
        code, message = "task_error", f"{type(exception).__name__}: {_said(exception)}"
    stage = getattr(exception, "stage", None)
    return {
        "code": storable_text(str(code)),
        "message": storable_text(message)[:MAX_MESSAGE],
        "stage": storable_text(stage) if isinstance(stage, str) else None,
        "attempt": attempt,
    }


def _said(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception:  # noqa: BLE001 - `__str__` is the user's code too, and may raise anything
        return "(its text cannot be shown)"


def _is_retryable(exception: BaseException) -> bool:
    match exception:
        case PermanentError() | InvalidArguments():
            return False
        case ProviderError():
            return exception.retryable
        case _:
            return True


def _asked_delay(exception: BaseException) -> timedelta | None:
    match exception:
        case Retry():
            return exception.after
        case ProviderError():
            return exception.retry_after
        case _:
            return None
