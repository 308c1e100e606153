"""Jobs that wait past their time, and attempts that had to leave: what is written for them, and when."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from sqlalchemy import update

from factories import PROCESS, WORKER, attempt_outcomes, claim_job, job_row, lose_worker, queue_job, start_job
from holdfast import JobContext
from holdfast.errors import ConfigurationError, InvalidArguments
from holdfast.jobs import children, leases, store
from holdfast.jobs.delivery import sending
from holdfast.jobs.ending.endings import GRACE_SECONDS, Ending
from holdfast.jobs.ending.enforcer import Enforcer
from holdfast.jobs.ending.lateness import end_late
from holdfast.jobs.ending.overdue import overdue_attempts
from holdfast.jobs.ending.stopping import Stage, StopSign, Timetable
from holdfast.jobs.models import Job
from holdfast.jobs.outcome import Fail, HandBack, RetryLater, Stop
from holdfast.jobs.registry import Registry
from holdfast.jobs.runner import Runner
from holdfast.jobs.running import RunningAttempt
from holdfast.jobs.workers import Worker
from waiting import wait_for

HOUR = timedelta(hours=1)
MOMENT = timedelta(microseconds=1)
GRACE = timedelta(seconds=GRACE_SECONDS)
ME = Worker(WORKER, HOUR)


def claim(session, job_id):
    claimed = store.claim(session, job_id, worker=WORKER, process=PROCESS, lease=HOUR)
    session.commit()
    return claimed


def end_all(session):
    ended = end_late(session, limit=10)
    session.commit()
    return ended


def let_pass(session, job_id, passed):
    """Move all the limits of a job so far back."""
    moved = {name: getattr(Job, name) - passed for name in ("times_out_at", "deadline", "start_by")}
    moved["cancel_requested_at"] = Job.cancel_requested_at - passed
    session.execute(update(Job).where(Job.id == job_id).values(moved))
    session.commit()


@pytest.mark.parametrize(
    ("limit", "code"),
    [("deadline", "deadline_exceeded"), ("start_by", "expired")],
    ids=["deadline", "start_by"],
)
def test_job_that_waits_past_its_limit_is_never_started_and_ends(session, limit, code):
    late, in_time = queue_job(session, **{limit: MOMENT}), queue_job(session, **{limit: HOUR})

    assert claim(session, late) is None
    assert end_all(session) == [late]
    row = job_row(session, late)
    assert (row["status"], row["error"]["code"], row["error"]["attempt"]) == ("failed", code, 0)
    assert job_row(session, in_time)["status"] == "queued"
    assert claim(session, in_time) is not None


def test_job_that_was_started_in_time_may_be_started_again_later(session):
    job_id = queue_job(session, start_by=HOUR)
    first = claim(session, job_id)
    store.retry_later(session, first, {"code": "task_error"}, timedelta())
    session.commit()
    let_pass(session, job_id, 2 * HOUR)

    assert end_all(session) == []
    assert claim(session, job_id).attempt == 2


def test_retry_that_waits_past_the_deadline_ends(session):
    job_id = queue_job(session, deadline=HOUR)
    store.retry_later(session, claim(session, job_id), {"code": "task_error"}, timedelta())
    session.commit()
    let_pass(session, job_id, 2 * HOUR)

    assert claim(session, job_id) is None
    assert end_all(session) == [job_id]
    row = job_row(session, job_id)
    assert (row["error"]["code"], row["error"]["attempt"]) == ("deadline_exceeded", 1)


def test_parent_that_waits_past_its_deadline_ends_with_its_children(session):
    parent = claim_job(session, queue_job(session, deadline=HOUR))
    child = queue_job(session, parent_id=parent.id)
    store.suspend(session, parent, [child], None, wakes_on_failure=False)
    session.commit()
    let_pass(session, parent.id, 2 * HOUR)

    assert end_all(session) == [parent.id]
    assert job_row(session, parent.id)["awaited_ids"] is None
    assert job_row(session, child)["status"] == "cancelled"


def test_parent_is_woken_when_its_child_has_expired(session):
    parent = claim_job(session, queue_job(session))
    child = queue_job(session, parent_id=parent.id, start_by=MOMENT)
    store.suspend(session, parent, [child], None, wakes_on_failure=False)
    session.commit()

    assert end_all(session) == [child]
    assert children.wake_waiting(session, limit=10) == 1


def test_late_jobs_are_ended_in_batches_the_latest_first(session):
    jobs = [queue_job(session, start_by=MOMENT) for _ in range(5)]
    assert end_late(session, limit=2) == jobs[:2]
    assert end_late(session, limit=10) == jobs[2:]


class TestOverdue:
    def test_attempt_is_overdue_when_its_grace_is_over(self, session):
        claimed = start_job(session, timeout=HOUR)
        let_pass(session, claimed.id, HOUR + GRACE / 2)
        assert overdue_attempts(session, worker=WORKER) == []

        let_pass(session, claimed.id, GRACE)
        (overdue,) = overdue_attempts(session, worker=WORKER)
        assert (overdue.claim.id, overdue.ending, overdue.process) == (claimed.id, Ending.TIMEOUT, PROCESS)
        assert overdue_attempts(session, worker="another") == []

    def test_attempt_that_its_deadline_ends_is_told_from_one_that_timed_out(self, session):
        claimed = start_job(session, timeout=2 * HOUR, deadline=HOUR)
        let_pass(session, claimed.id, HOUR + 2 * GRACE)
        (overdue,) = overdue_attempts(session, worker=WORKER)
        assert overdue.ending == Ending.DEADLINE

    def test_cancelled_attempt_is_overdue_after_twice_the_grace(self, session):
        claimed = start_job(session)
        store.cancel(session, claimed.id)
        let_pass(session, claimed.id, GRACE * 1.5)
        assert overdue_attempts(session, worker=WORKER) == []
        let_pass(session, claimed.id, GRACE)
        (overdue,) = overdue_attempts(session, worker=WORKER)
        assert overdue.ending == Ending.CANCELLED


@pytest.fixture
def child():
    """A process of ours that waits; it is killed at the latest when the test ends."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def enforce(session):
    """A round of the enforcer; returns what it told of the attempts that it ended."""

    def enforce():
        told = {}
        session.rollback()
        Enforcer(ME, Registry(), told.__setitem__).round(session)
        return told

    return enforce


@pytest.mark.parametrize(
    ("limits", "failures", "kind", "status", "outcome"),
    [
        ({"timeout": HOUR}, 0, RetryLater, "queued", "retried"),
        ({"timeout": HOUR, "max_attempts": 1}, 0, Fail, "failed", "failed"),
        ({"deadline": HOUR}, 0, Fail, "failed", "failed"),
        ({}, 0, Stop, "cancelled", "cancelled"),
    ],
    ids=["timeout", "last timeout", "deadline", "cancel"],
)
def test_outcome_of_an_overdue_attempt_is_written_and_its_process_killed(
    session, enforce, child, limits, failures, kind, status, outcome
):
    claimed = start_job(session, process=child.pid, **limits)
    if not limits:
        store.cancel(session, claimed.id)
    let_pass(session, claimed.id, 2 * HOUR)

    told = enforce()
    assert isinstance(told[str(claimed.id)], kind)
    assert child.wait(10) == -signal.SIGKILL
    row = job_row(session, claimed.id)
    assert (row["status"], row["crashes"]) == (status, 0)
    assert attempt_outcomes(session, claimed.id) == [outcome]
    assert leases.rescue_from_processes(session, [child.pid], worker=WORKER, limit=10) == []


def test_process_that_has_gone_on_to_another_job_is_left_alone(session, enforce, child):
    done = start_job(session, process=child.pid, timeout=HOUR)
    let_pass(session, done.id, 2 * HOUR)
    store.complete(session, done, None, None)
    start_job(session, process=child.pid)

    assert enforce() == {}
    assert child.poll() is None


def test_own_process_is_not_killed(session, enforce):
    claimed = start_job(session, process=os.getpid(), timeout=HOUR, max_attempts=1)
    let_pass(session, claimed.id, 2 * HOUR)
    assert isinstance(enforce()[str(claimed.id)], Fail)
    assert job_row(session, claimed.id)["status"] == "failed"


class TestHandingBack:
    def test_all_jobs_of_the_worker_and_no_others_are_queued_at_once(self, session):
        mine, cancelled, theirs = start_job(session), start_job(session), start_job(session, worker="another")
        store.cancel(session, cancelled.id)
        session.commit()

        assert set(leases.hand_back_all(session, worker=WORKER)) == {mine.id, cancelled.id}
        session.commit()
        row = job_row(session, mine.id)
        assert (row["status"], row["sent_at"], row["failures"], row["crashes"]) == ("queued", None, 0, 0)
        assert attempt_outcomes(session, mine.id) == ["handed_back"]
        assert job_row(session, cancelled.id)["status"] == "cancelled"
        assert job_row(session, theirs.id)["status"] == "processing"
        assert not store.complete(session, mine, None, None)

    def test_worker_that_shuts_down_starts_nothing(self, holdfast, session):
        def work(job: JobContext) -> None: ...

        sign = StopSign()
        runner = Runner(holdfast.database, lambda news: None, sign)
        task = holdfast.task(work)
        job_id = task.enqueue(session).job_id
        session.commit()
        sign.show(Stage.CLOSED)

        assert runner.run(task, job_id, ME) is None
        row = job_row(session, job_id)
        assert (row["status"], row["attempt"], row["sent_at"]) == ("queued", 0, None)

    def test_attempt_that_is_told_of_the_shutdown_is_handed_back(self, holdfast, session):
        async def wait_long(job: JobContext) -> None:
            sign.show(Stage.LEAVING)
            await asyncio.sleep(3600)

        sign = StopSign()
        runner = Runner(holdfast.database, lambda news: None, sign)
        task = holdfast.task(wait_long)
        job_id = task.enqueue(session).job_id
        session.commit()

        assert runner.run(task, job_id, ME) == HandBack()
        assert attempt_outcomes(session, job_id) == ["handed_back"]


@pytest.mark.parametrize(
    ("grace", "tells", "ends"), [(25, 20, 23.5), (5, 3, 4), (1, 0.6, 0.8), (600, 595, 598.5)]
)
def test_timetable_of_a_shutdown_fits_into_its_grace(grace, tells, ends):
    timetable = Timetable(timedelta(seconds=grace))
    assert (timetable.tells_after, timetable.ends_after) == pytest.approx((tells, ends))
    assert 0 < timetable.forces_after < timetable.ends_after - timetable.tells_after


def test_time_of_an_attempt_is_counted_by_no_clock_that_can_be_set(session, monkeypatch):
    claimed = start_job(session, timeout=HOUR, deadline=2 * HOUR)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    running = RunningAttempt(claimed)
    assert running.time_is_over is None
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + HOUR.total_seconds() + 1)
    assert running.time_is_over is Ending.TIMEOUT
    assert timedelta(minutes=59) < running.deadline_left < HOUR


class TestOptions:
    @pytest.fixture
    def task(self, holdfast):
        def work(job: JobContext) -> None: ...

        return holdfast.task(timeout=60, deadline=timedelta(hours=2), start_by=HOUR)(work)

    def test_limits_of_the_task_are_those_of_its_jobs_unless_an_enqueue_says_otherwise(self, task, session):
        usual = task.enqueue(session).job_id
        other = task.enqueue(session, timeout=5, deadline=20.5, start_by=timedelta(seconds=10)).job_id
        session.commit()

        def limits(job_id):
            row = job_row(session, job_id)
            created = row["created_at"]
            return row["timeout"], row["deadline"] - created, row["start_by"] - created

        assert limits(usual) == (timedelta(minutes=1), 2 * HOUR, HOUR)
        assert limits(other) == tuple(timedelta(seconds=given) for given in (5, 20.5, 10))

    @pytest.mark.parametrize("limit", ["timeout", "deadline", "start_by"])
    @pytest.mark.parametrize("value", [0, -1, timedelta()])
    def test_limit_that_is_over_at_once_is_refused(self, holdfast, task, session, limit, value):
        with pytest.raises(InvalidArguments, match=limit):
            task.enqueue(session, **{limit: value})
        with pytest.raises(ConfigurationError, match=limit):
            holdfast.task(**{limit: value})(lambda job: None)

    @pytest.mark.parametrize("limit", ["deadline", "start_by"])
    def test_limit_that_is_over_before_the_job_may_start_is_refused(self, task, session, limit):
        with pytest.raises(InvalidArguments, match=limit):
            task.enqueue(session, delay=60, **{limit: 30})
        task.enqueue(session, delay=60, timeout=1)


def test_worker_that_was_lost_uses_up_no_time_of_the_next_attempt(session):
    claimed = start_job(session, timeout=HOUR)
    lose_worker(session, claimed.id)
    leases.rescue_expired(session, limit=10)
    sending.mark_unsent(session, [claimed.id])
    session.commit()
    assert claim(session, claimed.id).time_left == HOUR


def test_sign_to_stop_reaches_a_process_that_was_forked_after_it_was_opened():
    sign = StopSign()
    sign.open()
    pid = os.fork()
    if pid == 0:
        seen = wait_for(lambda: sign.stage is Stage.LEAVING, seconds=10)
        os._exit(0 if seen else 1)
    sign.show(Stage.LEAVING)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
