"""The history checker finds each way in which a history can be broken, and nothing in one that is not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from holdfast.chaos.history import (
    AttemptRecord,
    Effect,
    History,
    JobRecord,
    Rule,
    Write,
    check,
)
from holdfast.states import AttemptOutcome, JobStatus

ID = UUID(int=1)


def at(second):
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def attempt(number, outcome, began, ended):
    return AttemptRecord(number, at(began), None if ended is None else at(ended), outcome)


LOST = attempt(1, AttemptOutcome.LOST, 1, 3)
RETRIED = attempt(2, AttemptOutcome.RETRIED, 4, 5)
COMPLETED = attempt(3, AttemptOutcome.COMPLETED, 6, 7)
JOB = JobRecord(
    ID, JobStatus.COMPLETED, 3, 1, 1, at(0), at(7), (LOST, RETRIED, COMPLETED), task="work", error_code=None
)
QUEUED, PROCESSING, DONE = JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED
UNENDED = replace(JOB, status=PROCESSING, completed_at=None)
WRITES = (
    Write(ID, None, QUEUED, 0),
    Write(ID, QUEUED, PROCESSING, 1),
    Write(ID, PROCESSING, PROCESSING, 1, reported_by=1),
    Write(ID, PROCESSING, QUEUED, 1),
    Write(ID, QUEUED, PROCESSING, 2),
    Write(ID, PROCESSING, QUEUED, 2),
    Write(ID, QUEUED, PROCESSING, 3),
    Write(ID, PROCESSING, DONE, 3),
)
EFFECT = Effect(ID, "row", attempt=1, held_by=1)


def rules(*, job=JOB, writes=WRITES, effects=(EFFECT,), is_over=True):
    found = check(History({ID: job}, {ID: writes}, effects), is_over=is_over)
    assert all(str(violation) for violation in found)
    return {violation.rule for violation in found}


def test_unbroken_history_has_no_violations():
    assert rules() == set()


def test_job_that_waits_for_its_first_attempt_is_stuck_only_when_the_run_is_over():
    job = JobRecord(ID, QUEUED, 0, 0, 0, at(0), None, ())
    assert rules(job=job, writes=WRITES[:1], effects=(), is_over=False) == set()
    assert rules(job=job, writes=WRITES[:1], effects=()) == {Rule.ENDS_ONCE}


@pytest.mark.parametrize("status", [JobStatus.CANCELLED, JobStatus.FAILED])
@pytest.mark.parametrize("outcome", [AttemptOutcome.LOST, AttemptOutcome.RETRIED])
def test_job_may_be_ended_while_it_waits(status, outcome):
    failures, crashes = outcome == AttemptOutcome.RETRIED, outcome == AttemptOutcome.LOST
    job = JobRecord(ID, status, 1, failures, crashes, at(0), at(9), (attempt(1, outcome, 1, 2),))
    writes = (*WRITES[:4], Write(ID, QUEUED, status, 1))
    assert rules(job=job, writes=writes) == set()


BROKEN_JOBS = {
    "a gap between attempts": (replace(JOB, attempts=(LOST, COMPLETED), failures=0), Rule.ATTEMPTS_NUMBERED),
    "an attempt too many": (replace(JOB, attempt=2), Rule.ATTEMPTS_NUMBERED),
    "an attempt that was never closed": (
        replace(JOB, crashes=0, attempts=(attempt(1, None, 1, None), RETRIED, COMPLETED)),
        Rule.ONE_OPEN_ATTEMPT,
    ),
    "a completed job whose attempt runs on": (
        replace(JOB, attempts=(LOST, RETRIED, attempt(3, None, 6, None))),
        Rule.ONE_OPEN_ATTEMPT,
    ),
    "a processing job without an attempt that runs": (
        UNENDED,
        Rule.ONE_OPEN_ATTEMPT,
    ),
    "an end without an outcome": (
        replace(JOB, crashes=0, attempts=(attempt(1, None, 1, 3), RETRIED, COMPLETED)),
        Rule.ONE_OPEN_ATTEMPT,
    ),
    "a second completion": (
        replace(JOB, crashes=0, attempts=(attempt(1, AttemptOutcome.COMPLETED, 1, 3), RETRIED, COMPLETED)),
        Rule.OUTCOMES_FIT,
    ),
    "a failure that was followed by more": (
        replace(JOB, attempts=(LOST, attempt(2, AttemptOutcome.FAILED, 4, 5), COMPLETED)),
        Rule.OUTCOMES_FIT,
    ),
    "a completed job whose last attempt failed": (
        replace(JOB, failures=2, attempts=(LOST, RETRIED, attempt(3, AttemptOutcome.FAILED, 6, 7))),
        Rule.OUTCOMES_FIT,
    ),
    "a completed job whose last attempt was lost": (
        replace(JOB, crashes=2, attempts=(LOST, RETRIED, attempt(3, AttemptOutcome.LOST, 6, 7))),
        Rule.OUTCOMES_FIT,
    ),
    "a failed job whose last attempt completed": (
        replace(JOB, status=JobStatus.FAILED),
        Rule.OUTCOMES_FIT,
    ),
    "a completed job that never ran": (
        replace(JOB, attempt=0, failures=0, crashes=0, attempts=()),
        Rule.OUTCOMES_FIT,
    ),
    "a crash that used up a retry": (replace(JOB, failures=2), Rule.COUNTERS_FIT),
    "a crash that was not counted": (replace(JOB, crashes=0), Rule.COUNTERS_FIT),
    "an attempt before the job": (replace(JOB, created_at=at(2)), Rule.TIMES_IN_ORDER),
    "an end before its beginning": (
        replace(JOB, attempts=(attempt(1, AttemptOutcome.LOST, 1, 0.5), RETRIED, COMPLETED)),
        Rule.TIMES_IN_ORDER,
    ),
    "two attempts at once": (
        replace(JOB, attempts=(attempt(1, AttemptOutcome.LOST, 1, 4.5), RETRIED, COMPLETED)),
        Rule.TIMES_IN_ORDER,
    ),
    "a job that ended before its attempt": (replace(JOB, completed_at=at(6)), Rule.TIMES_IN_ORDER),
    "a job that has not ended": (
        replace(
            JOB, status=PROCESSING, completed_at=None, attempts=(LOST, RETRIED, attempt(3, None, 6, None))
        ),
        Rule.ENDS_ONCE,
    ),
}


@pytest.mark.parametrize(("job", "rule"), BROKEN_JOBS.values(), ids=BROKEN_JOBS)
def test_broken_job_is_found(job, rule):
    assert rule in rules(job=job)


BROKEN_WRITES = {
    "a second end": ((*WRITES, Write(ID, DONE, JobStatus.FAILED, 3)), Rule.ENDS_ONCE),
    "a job that came back": ((*WRITES, Write(ID, DONE, QUEUED, 3)), Rule.ENDS_ONCE),
    "a result that was replaced": ((*WRITES, Write(ID, DONE, DONE, 3)), Rule.NO_STALE_WRITE),
    "a job that began twice": ((*WRITES[:2], Write(ID, QUEUED, PROCESSING, 2)), Rule.STATUS_IN_ORDER),
    "a completion without a beginning": ((WRITES[0], Write(ID, QUEUED, DONE, 0)), Rule.STATUS_IN_ORDER),
    "an attempt that was skipped": ((WRITES[0], Write(ID, QUEUED, PROCESSING, 2)), Rule.ATTEMPTS_NUMBERED),
    "a claim that did not count": ((WRITES[0], Write(ID, QUEUED, PROCESSING, 0)), Rule.ATTEMPTS_NUMBERED),
    "progress of an attempt that is over": (
        (*WRITES[:5], Write(ID, PROCESSING, PROCESSING, 2, reported_by=1)),
        Rule.NO_STALE_WRITE,
    ),
}


@pytest.mark.parametrize(("writes", "rule"), BROKEN_WRITES.values(), ids=BROKEN_WRITES)
def test_broken_order_of_writes_is_found(writes, rule):
    assert rule in rules(writes=writes)


BROKEN_EFFECTS = {
    "an effect of two attempts": ((EFFECT, replace(EFFECT, attempt=3, held_by=3)), Rule.ONE_EFFECT),
    "an effect twice in one attempt": ((EFFECT, EFFECT), Rule.ONE_EFFECT),
    "an effect of an attempt that had lost the job": ((replace(EFFECT, held_by=2),), Rule.NO_STALE_WRITE),
    "an effect after the job's end": ((replace(EFFECT, held_by=None),), Rule.NO_STALE_WRITE),
}


@pytest.mark.parametrize(("effects", "rule"), BROKEN_EFFECTS.values(), ids=BROKEN_EFFECTS)
def test_broken_effect_is_found(effects, rule):
    assert rules(effects=effects) == {rule}


def test_two_effects_of_one_job_under_their_own_names_are_no_double():
    assert rules(effects=(EFFECT, replace(EFFECT, name="another"))) == set()
