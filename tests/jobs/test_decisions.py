"""From what happened in a task to what becomes of its job; and how long a retry waits."""

import asyncio
import concurrent.futures
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import (
    ConfigurationError,
    DocumentError,
    InvalidArguments,
    JobCancelled,
    PermanentError,
    ProviderError,
    Retry,
    StaleAttempt,
    TimedOut,
)
from holdfast.jobs.ending.endings import Ending
from holdfast.jobs.ending.interruption import Interruption
from holdfast.jobs.outcome import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    Abandon,
    Complete,
    Fail,
    HandBack,
    Raised,
    RetryLater,
    Stop,
    Succeeded,
    decide,
)
from holdfast.jobs.storable import check_storable
from holdfast.jobs.store import Claim
from holdfast.retry import RetryPolicy

FIRST = Claim(UUID(int=1), 1, "work", {}, 0, 4, None)
LAST = replace(FIRST, attempt=4, failures=3)
POLICY = RetryPolicy(retries=3, delay=timedelta(seconds=60))
MINUTE = timedelta(seconds=60)
STOPPING = [JobCancelled(), asyncio.CancelledError(), concurrent.futures.CancelledError()]


def decided(exception, claim=FIRST, *, ending=None):
    return decide(Raised(exception), claim, POLICY, ending=ending)


@pytest.mark.parametrize("ending", [None, *Ending])
def test_task_that_returned_is_completed_even_if_it_was_told_to_leave(ending):
    assert decide(Succeeded([1]), FIRST, POLICY, ending=ending) == Complete([1])


@pytest.mark.parametrize("ending", [None, *Ending])
def test_stale_attempt_writes_nothing(ending):
    assert decided(StaleAttempt(), ending=ending) == Abandon()


@pytest.mark.parametrize("exception", STOPPING, ids=lambda e: type(e).__module__)
def test_task_that_heeds_a_stop_sign_is_cancelled(exception):
    assert decided(exception, ending=Ending.CANCELLED) == Stop()


@pytest.mark.parametrize("exception", STOPPING, ids=lambda e: type(e).__module__)
def test_cancellation_nobody_asked_for_is_a_failure_like_others(exception):
    assert isinstance(decided(exception), RetryLater)


@pytest.mark.parametrize(
    ("exception", "delay"),
    [
        (ValueError("no"), MINUTE),
        (SystemExit(3), MINUTE),
        (Retry("busy"), MINUTE),
        (Retry("busy", after=7), timedelta(seconds=7)),
        (Retry("busy", after=0), timedelta(0)),
        (Retry("busy", after=timedelta(hours=2)), timedelta(hours=2)),
        (ProviderError("429", retryable=True), MINUTE),
        (ProviderError("429", retryable=True, retry_after=timedelta(seconds=9)), timedelta(seconds=9)),
    ],
)
def test_failure_that_may_pass_is_tried_again(exception, delay):
    decision = decided(exception)
    assert isinstance(decision, RetryLater)
    assert decision.delay == delay


@pytest.mark.parametrize(
    ("exception", "code", "stage"),
    [
        (PermanentError("no such model"), "permanent", None),
        (PermanentError("no", code="model_gone", stage="embed"), "model_gone", "embed"),
        (DocumentError("empty", code="document_empty", stage="read"), "document_empty", "read"),
        (InvalidArguments("x: missing"), "invalid_arguments", None),
        (ProviderError("401", retryable=False), "provider_error", None),
    ],
)
def test_failure_that_cannot_pass_ends_the_job_at_once(exception, code, stage):
    decision = decided(exception)
    assert isinstance(decision, Fail)
    assert decision.error == {"code": code, "message": exception.message, "stage": stage, "attempt": 1}


@pytest.mark.parametrize(
    ("exception", "code"),
    [
        (ValueError("no"), "task_error"),
        (Retry("busy", after=7), "retry"),
        (Retry("busy", code="rate_limited"), "rate_limited"),
        (ProviderError("503", retryable=True), "provider_error"),
        (SystemExit(3), "task_error"),
    ],
)
def test_last_failure_ends_the_job(exception, code):
    decision = decided(exception, LAST)
    assert isinstance(decision, Fail)
    assert (decision.error["code"], decision.error["attempt"]) == (code, 4)


def failing_on_the_way_out(told):
    """What a task raises whose `finally` block fails when it is told to leave."""
    try:
        try:
            raise told
        finally:
            raise OSError("could not clean up")
    except OSError as error:
        return error


LEFT_WITH = [asyncio.CancelledError(), Interruption(), JobCancelled()]
WAYS_OUT = [
    *LEFT_WITH,
    *map(failing_on_the_way_out, LEFT_WITH),
    BaseExceptionGroup("", [asyncio.CancelledError()]),
]


@pytest.mark.parametrize("exception", WAYS_OUT, ids=repr)
@pytest.mark.parametrize(
    ("ending", "decision"),
    [(Ending.CANCELLED, Stop()), (Ending.SHUTDOWN, HandBack()), (Ending.STALE, Abandon())],
)
def test_attempt_that_leaves_when_it_is_told_ends_for_that_reason(exception, ending, decision):
    assert decided(exception, ending=ending) == decision


@pytest.mark.parametrize("exception", WAYS_OUT, ids=repr)
def test_attempt_that_took_too_long_is_a_failure_like_others(exception):
    decision = decided(exception, replace(FIRST, time_left=timedelta(seconds=90)), ending=Ending.TIMEOUT)
    assert isinstance(decision, RetryLater)
    assert decision.error["code"] == "timeout"
    assert "90 s" in decision.error["message"]
    last = decided(exception, LAST, ending=Ending.TIMEOUT)
    assert isinstance(last, Fail)
    assert last.error["code"] == "timeout"


def test_job_past_its_deadline_is_not_tried_again():
    decision = decided(Interruption(), ending=Ending.DEADLINE)
    assert isinstance(decision, Fail)
    assert decision.error["code"] == "deadline_exceeded"


@pytest.mark.parametrize("ending", Ending)
def test_what_a_task_says_of_its_job_goes_before_why_it_had_to_leave(ending):
    assert isinstance(decided(PermanentError("no"), ending=ending), Fail)
    assert isinstance(decided(Retry("later"), ending=ending), RetryLater)


def test_failure_that_has_nothing_to_do_with_the_sign_to_leave_is_a_failure():
    assert isinstance(decided(ValueError("no"), ending=Ending.SHUTDOWN), RetryLater)


@pytest.mark.parametrize(("left", "is_late"), [(MINUTE, True), (MINUTE * 1.5, False)])
def test_retry_that_could_only_start_after_the_deadline_fails_now(left, is_late):
    decision = decide(Raised(ValueError("no")), FIRST, POLICY, deadline_left=left)
    assert isinstance(decision, Fail) is is_late
    assert decision.error["code"] == ("deadline_exceeded" if is_late else "task_error")
    assert "ValueError: no" in decision.error["message"]


CAREFUL = replace(POLICY, retry_on=(OSError, TimedOut), dont_retry_on=(FileNotFoundError,))


@pytest.mark.parametrize(
    ("exception", "is_retried"),
    [
        (ConnectionError("reset"), True),
        (FileNotFoundError("gone"), False),
        (ValueError("no"), False),
        (Retry("asked for"), True),
        (ProviderError("503", retryable=True), False),
        (PermanentError("no"), False),
    ],
)
def test_policy_names_the_errors_that_are_worth_a_retry(exception, is_retried):
    decision = decide(Raised(exception), FIRST, CAREFUL)
    assert isinstance(decision, RetryLater) is is_retried


@pytest.mark.parametrize(("named", "is_retried"), [((), True), ((TimedOut,), False)])
def test_policy_may_name_the_timeout_as_well(named, is_retried):
    policy = replace(POLICY, dont_retry_on=named)
    decision = decide(Raised(Interruption()), FIRST, policy, ending=Ending.TIMEOUT)
    assert isinstance(decision, RetryLater) is is_retried


@pytest.mark.parametrize("named", [("OSError",), (OSError("an instance"),), (int,)])
def test_policy_that_names_no_exceptions_is_refused(named):
    with pytest.raises(ConfigurationError, match="name exceptions"):
        RetryPolicy(retry_on=named)
    with pytest.raises(ConfigurationError, match="name exceptions"):
        RetryPolicy(dont_retry_on=named)


def test_attempts_lost_with_their_worker_use_up_no_retry():
    after_many_crashes = replace(FIRST, attempt=9, failures=0)
    assert isinstance(decided(ValueError("no"), after_many_crashes), RetryLater)


def test_error_tells_type_and_message_and_keeps_the_traceback_apart():
    decision = decided(ValueError("bad value"), LAST)
    assert decision.error["message"] == "ValueError: bad value"
    assert "ValueError: bad value" in decision.traceback


@given(st.text(st.characters(), max_size=200), st.integers(1, 200))
def test_error_of_any_text_can_be_stored(text, repetitions):
    decision = decided(ValueError(text * repetitions), LAST)
    check_storable({**decision.error, "traceback": decision.traceback})
    assert len(decision.error["message"]) <= MAX_MESSAGE
    assert len(decision.traceback) <= MAX_TRACEBACK


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


def test_exception_that_cannot_be_printed_is_still_recorded():
    decision = decided(Unprintable(), LAST)
    assert isinstance(decision, Fail)
    assert "Unprintable" in decision.error["message"]


def test_error_given_as_a_message_is_told_by_its_text():
    decision = decided(Retry(ValueError("no such file")))
    assert isinstance(decision, RetryLater)
    assert decision.error["message"] == "no such file"
    assert decided(PermanentError(code=404)).error["code"] == "404"


class Staged(Exception):
    stage = object()


def test_stage_that_is_no_text_is_left_out():
    assert decided(Staged(), LAST).error["stage"] is None


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (RetryPolicy(), [60, 60, 60, 60]),
        (RetryPolicy(delay=timedelta(seconds=2), backoff="exponential"), [2, 4, 8, 16]),
        (
            RetryPolicy(delay=MINUTE, backoff="exponential", max_delay=timedelta(seconds=200)),
            [60, 120, 200, 200],
        ),
        (RetryPolicy(delay=timedelta(0)), [0, 0, 0, 0]),
    ],
)
def test_waits_of_a_policy(policy, waits):
    assert [policy.delay_after(failure).total_seconds() for failure in range(1, 5)] == waits


def test_exponential_wait_of_days_stays_finite():
    policy = RetryPolicy(delay=timedelta(days=2), backoff="exponential", max_delay=timedelta(days=30))
    assert [policy.delay_after(failure).days for failure in (1, 2, 31, 5_000)] == [2, 4, 30, 30]


def test_retries_come_after_the_first_attempt():
    assert RetryPolicy(retries=0).max_attempts == 1
    assert RetryPolicy().max_attempts == 4


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_exponential_wait_never_passes_its_maximum(failures, draw):
    policy = RetryPolicy(delay=MINUTE, backoff="exponential", jitter=True)
    assert timedelta(0) <= policy.delay_after(failures, draw=draw) <= policy.max_delay


@given(st.floats(0, 1, exclude_max=True))
def test_jitter_draws_from_the_whole_wait(draw):
    policy = RetryPolicy(delay=MINUTE, jitter=True)
    assert policy.delay_after(1, draw=draw) == MINUTE * draw
