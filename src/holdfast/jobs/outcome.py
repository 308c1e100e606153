"""From what happened to what is written: pure decisions, no I/O."""

import asyncio
import concurrent.futures
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_never
from uuid import UUID

from pydantic import JsonValue

from holdfast.errors import (
    DeadlineExceeded,
    HoldfastError,
    InvalidArguments,
    JobCancelled,
    PermanentError,
    ProviderError,
    Retry,
    StaleAttempt,
    TimedOut,
)
from holdfast.jobs import events
from holdfast.jobs.ending.endings import Ending
from holdfast.jobs.ending.interruption import Interruption
from holdfast.jobs.storable import storable_text
from holdfast.jobs.store import Claim
from holdfast.retry import RetryPolicy

# What a task that is told to leave leaves with; a future of the loop's thread has an exception of its own.
STOPPED = (JobCancelled, Interruption, asyncio.CancelledError, concurrent.futures.CancelledError)
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


def decide(
    outcome: Outcome,
    claim: Claim,
    policy: RetryPolicy,
    *,
    ending: Ending | None = None,
    deadline_left: timedelta | None = None,
) -> Decision:
    """What to write for an attempt that ended this way.

    A task that was told to leave but finished first keeps its result: the work is done.

    Args:
        outcome: what happened.
        claim: the attempt.
        policy: of its task.
        ending: why it was told to leave, if it was.
        deadline_left: how far the job's deadline is away now; `None` without one.
    """
    match outcome:
        case Succeeded(result):
            return Complete(result)
        case Raised(StaleAttempt()):
            return Abandon()
        case Raised(Suspension() as suspension):
            return Suspend(suspension.awaited_ids, suspension.wakes_on_failure)
        case Raised(exception) if ending is not None and _left_as_told(exception):
            return decide_ending(ending, exception, claim, policy, deadline_left=deadline_left)
        case Raised(exception):
            return _decide_failure(exception, _trace(exception), claim, policy, deadline_left)


def decide_ending(
    ending: Ending,
    left_with: BaseException | str,
    claim: Claim,
    policy: RetryPolicy,
    *,
    deadline_left: timedelta | None = None,
) -> Decision:
    """What to write for an attempt that was ended from outside.

    Args:
        ending: why.
        left_with: what the task left with, or words about a task that did not leave.
        claim: the attempt.
        policy: of its task.
        deadline_left: how far the job's deadline is away now; `None` without one.
    """
    trace = left_with if isinstance(left_with, str) else _trace(left_with)
    match ending:
        case Ending.STALE:
            return Abandon()
        case Ending.CANCELLED:
            return Stop()
        case Ending.SHUTDOWN:
            return HandBack()
        case Ending.DEADLINE:
            return Fail(describe(DeadlineExceeded(), claim.attempt), trace)
        case Ending.TIMEOUT:
            return _decide_failure(_timed_out(claim), trace, claim, policy, deadline_left)
    assert_never(ending)


def event_of(decision: Decision) -> str:
    """What watchers are told when this was written. A retry may have become a cancellation on the way."""
    match decision:
        case Complete():
            return events.COMPLETED
        case Fail():
            return events.FAILED
        case Stop():
            return events.CANCELLED
        case RetryLater() | HandBack() | Suspend() | Abandon():
            return events.RETRYING
    assert_never(decision)


def _timed_out(claim: Claim) -> TimedOut:
    if claim.time_left is None:
        return TimedOut()
    return TimedOut(f"The attempt took longer than its timeout of {claim.time_left.total_seconds():g} s.")


def _left_as_told(exception: BaseException) -> bool:
    """Whether the sign to leave is what the task left with, or what its way out began with.

    Libraries turn a cancellation into errors of their own, and a `finally` block may fail. What a task says
    about its job, it says.
    """
    if isinstance(exception, PermanentError | Retry):
        return False
    return any(isinstance(error, STOPPED) for error in _chain(exception))


def _chain(exception: BaseException) -> Iterator[BaseException]:
    open_ends, seen = [exception], set[int]()
    while open_ends:
        error = open_ends.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        open_ends += [before for before in (error.__cause__, error.__context__) if before is not None]
        if isinstance(error, BaseExceptionGroup):
            open_ends += error.exceptions


def _decide_failure(
    exception: BaseException, trace: str, claim: Claim, policy: RetryPolicy, deadline_left: timedelta | None
) -> Decision:
    error = describe(exception, claim.attempt)
    failures = claim.failures + 1
    if failures >= claim.max_attempts or not _is_retryable(exception, policy):
        return Fail(error, trace)
    asked = _asked_delay(exception)
    delay = policy.delay_after(failures) if asked is None else asked
    if deadline_left is not None and delay >= deadline_left:
        late = DeadlineExceeded(f"No retry could start before the deadline, after this: {error['message']}")
        return Fail(describe(late, claim.attempt), trace)
    return RetryLater(error, trace, delay)


def _trace(exception: BaseException) -> str:
    return storable_text("".join(traceback.format_exception(exception)))[-MAX_TRACEBACK:]


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


def _is_retryable(exception: BaseException, policy: RetryPolicy) -> bool:
    match exception:
        case Retry():
            return True
        case PermanentError() | InvalidArguments():
            return False
        case ProviderError() if not exception.retryable:
            return False
        case _:
            return policy.allows(exception)


def _asked_delay(exception: BaseException) -> timedelta | None:
    match exception:
        case Retry():
            return exception.after
        case ProviderError():
            return exception.retry_after
        case _:
            return None
