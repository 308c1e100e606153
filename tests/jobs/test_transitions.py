"""Which transition changes which job: from each status, and from an attempt that has lost it."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from factories import (
    ERROR,
    LEASE,
    PROCESS,
    RAN_OUT,
    WORKER,
    attempt_outcomes,
    claim_job,
    job_row,
    lose_worker,
    make_job,
    queue_job,
    start_job,
)
from holdfast.jobs import grouped, leases, store
from holdfast.jobs.delivery import sending
from holdfast.jobs.delivery.waiting import Shelf
from holdfast.jobs.grouped import Completion, Holder
from holdfast.jobs.ids import new_id
from holdfast.states import TERMINAL, JobStatus

SHELF = Shelf("default", 5)
HOLDER = Holder("worker-2", PROCESS, LEASE)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)

# What a transition is called with, and whether what it returns says that it changed the job.
TRANSITIONS = {
    "claim": lambda s, c: store.claim(s, c.id, worker="worker-2", process=PROCESS, lease=LEASE) is not None,
    "claim_together": lambda s, c: bool(grouped.claim(s, [c.id], HOLDER)),
    "claim_due": lambda s, c: bool(grouped.claim_due(s, SHELF, ["work"], HOLDER, limit=9)),
    "complete": lambda s, c: store.complete(s, c, "done", None),
    "complete_together": lambda s, c: grouped.complete(s, [Completion(c, "done", None)]) == [True],
    "fail": lambda s, c: store.fail(s, c, ERROR, None),
    "retry_later": lambda s, c: store.retry_later(s, c, ERROR, timedelta(0)),
    "stop": lambda s, c: store.stop(s, c, None),
    "renew": lambda s, c: leases.renew(s, [PROCESS], worker=WORKER, lease=LEASE * 2) == 1,
    "save_progress": lambda s, c: store.save_progress(s, {(c.id, c.attempt): {"current": 1}}),
    "rescue_from_processes": lambda s, c: bool(
        leases.rescue_from_processes(s, [PROCESS], worker=WORKER, limit=10)
    ),
    "rescue_expired": lambda s, c: leases.rescue_expired(s, limit=10) == [c.id],
    "rescue_from_workers": lambda s, c: bool(leases.rescue_from_workers(s, [WORKER], limit=10)),
    "hand_back": lambda s, c: store.hand_back(s, c.id, c.attempt),
    "cancel": lambda s, c: store.cancel(s, c.id),
    "mark_unsent": lambda s, c: sending.mark_unsent(s, [c.id]),
    "mark_queue_unsent": lambda s, c: sending.mark_queue_unsent(s, "default"),
    "take_unsent": lambda s, c: bool(sending.take_unsent(s, SHELF, limit=10)),
    "take_overdue": lambda s, c: bool(sending.take_overdue(s, SHELF)),
    "postpone": lambda s, c: sending.postpone(s, [c.id], least=SECOND, most=MINUTE),
}

# Where each transition leads; from a status that is not named it changes nothing.
LEADS_TO = {
    "claim": {"queued": "processing"},
    "claim_together": {"queued": "processing"},
    "claim_due": {},  # a job that was sent
    "complete": {"processing": "completed"},
    "complete_together": {"processing": "completed"},
    "fail": {"processing": "failed"},
    "retry_later": {"processing": "queued"},
    "stop": {"processing": "cancelled"},
    "renew": {"processing": "processing"},
    "save_progress": {"processing": "processing"},
    "rescue_from_processes": {"processing": "queued"},
    "rescue_from_workers": {"processing": "queued"},
    "hand_back": {"processing": "queued"},
    "rescue_expired": {},  # a lease that has not run out
    "cancel": {"queued": "cancelled", "processing": "processing"},
    "mark_unsent": {"queued": "queued"},
    "mark_queue_unsent": {"queued": "queued"},
    "take_unsent": {},  # a job that was sent
    "take_overdue": {},
    "postpone": {"queued": "queued"},
}

ATTEMPT_WRITES = [
    "complete",
    "complete_together",
    "fail",
    "retry_later",
    "stop",
    "hand_back",
    "save_progress",
]


@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("transition", TRANSITIONS)
def test_transition_changes_only_a_job_it_is_meant_for(session, transition, status):
    claim = make_job(session, status)
    before = job_row(session, claim.id)

    changed = TRANSITIONS[transition](session, claim)
    session.commit()

    after = job_row(session, claim.id)
    expected = LEADS_TO[transition].get(status)
    assert after["status"] == (expected or status)
    assert (after != before) == (expected is not None)
    if transition not in ("save_progress", "mark_unsent", "cancel"):
        assert changed == (expected is not None)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_finished_job_is_never_changed(session, status):
    claim = make_job(session, status)
    before = job_row(session, claim.id), attempt_outcomes(session, claim.id)

    for transition in TRANSITIONS.values():
        transition(session, claim)
        session.commit()

    assert (job_row(session, claim.id), attempt_outcomes(session, claim.id)) == before


@pytest.mark.parametrize("write", ATTEMPT_WRITES)
def test_stale_attempt_changes_nothing_while_the_live_one_runs(session, write):
    stale = start_job(session, lease=RAN_OUT)
    leases.rescue_expired(session, limit=10)
    live = claim_job(session, stale.id, worker="worker-2")
    before = job_row(session, stale.id)

    assert not TRANSITIONS[write](session, stale)
    session.commit()

    assert job_row(session, stale.id) == before
    TRANSITIONS[write](session, live)
    session.commit()
    assert job_row(session, stale.id) != before


@pytest.mark.parametrize("write", ATTEMPT_WRITES)
def test_stale_attempt_changes_nothing_while_the_job_waits(session, write):
    stale = start_job(session, lease=RAN_OUT)
    leases.rescue_expired(session, limit=10)
    session.commit()
    before = job_row(session, stale.id)

    assert not TRANSITIONS[write](session, stale)
    session.commit()

    assert job_row(session, stale.id) == before


def test_stale_attempt_cannot_hold_a_rescued_job_and_the_live_one_can(session):
    stale = start_job(session, lease=RAN_OUT)
    leases.rescue_expired(session, limit=10)
    live = claim_job(session, stale.id, worker="worker-2")

    assert not store.hold(session, stale.id, stale.attempt)
    assert store.hold(session, live.id, live.attempt)


def test_worker_renews_only_the_leases_it_holds(session):
    stale = start_job(session, worker="worker-1", lease=RAN_OUT)
    leases.rescue_expired(session, limit=10)
    claim_job(session, stale.id, worker="worker-2")
    start_job(session, worker="worker-1")

    assert leases.renew(session, [PROCESS], worker="worker-1", lease=LEASE) == 1
    assert leases.renew(session, [PROCESS], worker="worker-2", lease=LEASE) == 1


def test_attempt_of_the_same_worker_after_a_rescue_is_another(session):
    stale = start_job(session, worker="worker-1", lease=RAN_OUT)
    leases.rescue_expired(session, limit=10)
    live = claim_job(session, stale.id, worker="worker-1")

    assert not store.complete(session, stale, "late", None)
    assert store.complete(session, live, "in time", None)
    session.commit()
    assert job_row(session, live.id)["result"] == "in time"


def test_claim_opens_an_attempt_and_starts_the_job_once(session):
    first = start_job(session)
    started_at = job_row(session, first.id)["started_at"]
    store.retry_later(session, first, ERROR, timedelta(0))
    session.commit()
    second = claim_job(session, first.id)

    assert (first.attempt, second.attempt) == (1, 2)
    assert second.failures == 1
    assert job_row(session, first.id)["started_at"] == started_at
    assert attempt_outcomes(session, first.id) == ["retried", None]


@pytest.mark.parametrize("changes", [{"delay": timedelta(hours=1)}])
def test_job_whose_time_has_not_come_cannot_be_claimed_or_sent(session, changes):
    job_id = queue_job(session, **changes)

    assert store.claim(session, job_id, worker=WORKER, process=PROCESS, lease=LEASE) is None
    assert sending.take_unsent(session, SHELF, limit=10) == []


def test_job_that_does_not_exist_is_nothing_to_claim_cancel_or_hold(session):
    nobody = new_id()

    assert store.claim(session, nobody, worker=WORKER, process=PROCESS, lease=LEASE) is None
    assert store.cancel(session, nobody) is None
    assert not store.hold(session, nobody, 1)


def test_lost_job_is_queued_again_and_unsent(session):
    claim = start_job(session, lease=RAN_OUT)

    assert leases.rescue_expired(session, limit=10) == [claim.id]
    session.commit()

    row = job_row(session, claim.id)
    assert (row["status"], row["crashes"], row["failures"], row["sent_at"]) == ("queued", 1, 0, None)
    assert attempt_outcomes(session, claim.id) == ["lost"]
    assert [delivery.id for delivery in sending.take_unsent(session, SHELF, limit=10)] == [claim.id]


def test_job_that_has_lost_its_last_worker_fails_as_worker_lost(session):
    job_id = queue_job(session, max_crashes=3)
    for crash in range(1, 4):
        claim_job(session, job_id, lease=RAN_OUT)
        assert leases.rescue_expired(session, limit=10) == [job_id]
        session.commit()
        row = job_row(session, job_id)
        assert row["status"] == ("failed" if crash == 3 else "queued")

    assert row["error"]["code"] == "worker_lost"
    assert row["error"]["attempt"] == 3
    assert attempt_outcomes(session, job_id) == ["lost", "lost", "lost"]


def test_lost_job_that_was_asked_to_stop_is_cancelled(session):
    claim = start_job(session, lease=RAN_OUT, max_crashes=1)
    assert store.cancel(session, claim.id) == JobStatus.PROCESSING
    leases.rescue_expired(session, limit=10)
    session.commit()

    assert job_row(session, claim.id)["status"] == "cancelled"


def test_job_that_was_asked_to_stop_is_not_tried_again(session):
    claim = start_job(session)
    store.cancel(session, claim.id)
    assert store.retry_later(session, claim, ERROR, timedelta(0))
    session.commit()

    assert job_row(session, claim.id)["status"] == "cancelled"


def test_rescue_takes_only_jobs_of_the_named_processes(session):
    start_job(session, worker="worker-1")

    assert not leases.rescue_from_processes(session, [PROCESS], worker="worker-2", limit=10)
    assert leases.rescue_from_processes(session, [PROCESS], worker="worker-1", limit=10)


def test_rescue_takes_at_most_its_limit(session):
    claims = {start_job(session, lease=RAN_OUT).id for _ in range(3)}

    taken = leases.rescue_expired(session, limit=2)
    session.commit()
    assert len(taken) == 2
    assert set(taken) | set(leases.rescue_expired(session, limit=2)) == claims


def test_cancelling_twice_is_the_same_as_once(session):
    queued, running = queue_job(session), start_job(session).id

    first = store.cancel(session, queued), store.cancel(session, running)
    session.commit()
    rows = job_row(session, queued), job_row(session, running)
    second = store.cancel(session, queued), store.cancel(session, running)
    session.commit()

    assert first == second == (JobStatus.CANCELLED, JobStatus.PROCESSING)
    assert (job_row(session, queued), job_row(session, running)) == rows


def test_completion_keeps_the_last_progress_and_drops_an_earlier_error(session):
    first = start_job(session)
    store.retry_later(session, first, ERROR, timedelta(0))
    session.commit()
    second = claim_job(session, first.id)
    store.complete(session, second, [1, 2], {"current": 2, "total": 2, "message": None})
    session.commit()

    row = job_row(session, first.id)
    assert row["result"] == [1, 2]
    assert row["error"] is None
    assert row["progress"] == {"current": 2, "total": 2, "message": None}
    assert row["worker"] is None


def test_lease_that_ran_out_is_still_held_until_somebody_takes_the_job(session):
    claim = start_job(session)
    lose_worker(session, claim.id)

    assert store.complete(session, claim, "just in time", None)


@pytest.mark.parametrize(
    ("status", "change", "constraint"),
    [
        ("queued", "status = 'done'", "jobs_status_known"),
        ("queued", "status = 'completed'", "jobs_terminal_has_completed_at"),
        ("queued", "completed_at = now()", "jobs_terminal_has_completed_at"),
        ("completed", "completed_at = NULL", "jobs_terminal_has_completed_at"),
        ("queued", "status = 'processing'", "jobs_processing_has_lease"),
        ("processing", "lease_expires_at = NULL", "jobs_processing_has_lease"),
        ("processing", "worker = NULL", "jobs_processing_has_lease"),
        ("queued", "worker = 'w', lease_expires_at = now()", "jobs_processing_has_lease"),
        ("queued", "worker = 'w'", "jobs_processing_has_lease"),
        ("queued", "lease_expires_at = now()", "jobs_processing_has_lease"),
        ("failed", "error = NULL", "jobs_failed_has_error"),
        ("queued", "priority = 10", "jobs_priority_range"),
        ("queued", "priority = -1", "jobs_priority_range"),
    ],
)
def test_database_refuses_a_row_that_cannot_be(session, status, change, constraint):
    job_id = make_job(session, status).id

    with pytest.raises(IntegrityError, match=constraint):
        session.execute(text(f"UPDATE holdfast.jobs SET {change} WHERE id = :id"), {"id": job_id})


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("outcome = 'vanished', ended_at = now()", "attempts_outcome_known"),
        ("outcome = 'lost'", "attempts_ended_has_outcome"),
        ("ended_at = now()", "attempts_ended_has_outcome"),
    ],
)
def test_database_refuses_an_attempt_that_cannot_be(session, change, constraint):
    start_job(session)

    with pytest.raises(IntegrityError, match=constraint):
        session.execute(text(f"UPDATE holdfast.attempts SET {change}"))
