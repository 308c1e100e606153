"""A worker whose own clock is an hour ahead: whatever has a time goes by the clock of the database."""

import time
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select, update

import clock_tasks
from factories import attempt_outcomes, job_row
from holdfast.chaos.ground import skewed
from holdfast.jobs.models import Job, Schedule
from holdfast.jobs.queries import list_attempts
from holdfast.jobs.schedules import Scheduler
from waiting import wait_for

HOUR = timedelta(hours=1)
DELAY = timedelta(seconds=1)
LEASE = timedelta(seconds=3)


@pytest.fixture
def holdfast(holdfast):
    clock_tasks.register(holdfast)
    return holdfast


@pytest.fixture
def start_worker(start_worker, environment):
    """Start a worker whose clock is ahead by so much."""

    def start(ahead_by=timedelta(), **options):
        variables = skewed(environment, round(ahead_by.total_seconds()))
        variables["HOLDFAST_LEASE_SECONDS"] = str(LEASE.total_seconds())
        return start_worker(app="clock_tasks", **variables, **options)

    return start


@pytest.fixture
def tick_an_hour_ago(holdfast, session):
    """Begin the schedule, and let it have come as far as an hour ago."""
    Scheduler(holdfast.database, holdfast.tasks).round()
    session.execute(update(Schedule).values(last_tick_at=Schedule.last_tick_at - HOUR))
    session.commit()


@pytest.mark.usefixtures("tick_an_hour_ago")
def test_waits_and_ticks_end_when_the_database_says_so(start_worker, enqueue, await_status, session):
    start_worker(HOUR)
    delayed, retried = enqueue("add", a=1, b=1, delay=DELAY), enqueue("fail_first")
    told = await_status(enqueue("tell_time"), "completed")["result"]
    assert abs(timedelta(seconds=told - time.time()) - HOUR) < timedelta(minutes=1)

    row = await_status(delayed, "completed", seconds=10)
    assert row["started_at"] - row["created_at"] >= DELAY
    await_status(retried, "completed", seconds=10)
    first, second = list_attempts(session, retried)
    assert second.started_at - first.ended_at >= timedelta(seconds=clock_tasks.RETRY_SECONDS)
    hour = session.scalar(select(func.date_trunc("hour", func.clock_timestamp())))
    ticks = session.scalars(select(Job.metadata_["tick"].as_string()).where(Job.task == "tick"))
    assert [datetime.fromisoformat(tick) for tick in ticks] == [hour]


def test_limits_and_leases_are_those_of_the_database(start_worker, enqueue, await_status, session, gate):
    start_worker(HOUR, concurrency=3)
    limited = enqueue("work_at", gate=gate.path, timeout=600, deadline=600, start_by=600)
    gate.await_arrival()
    timed_out, late = enqueue("wait_in_vain", timeout=0.5), enqueue("wait_in_vain", deadline=0.5)

    assert await_status(late, "failed")["error"]["code"] == "deadline_exceeded"
    assert await_status(timed_out, "completed", seconds=10)["result"] == 2
    assert attempt_outcomes(session, timed_out) == ["retried", "completed"]
    lease_left = Job.lease_expires_at - func.clock_timestamp()
    assert timedelta() < session.scalar(select(lease_left).where(Job.id == limited)) <= LEASE
    gate.open()
    assert await_status(limited, "completed")["result"] == 1


def test_workers_that_differ_by_an_hour_leave_each_others_jobs_alone(
    start_worker, enqueue, await_status, session, gate
):
    ahead, right = start_worker(HOUR, concurrency=1), start_worker(concurrency=1)
    jobs = [enqueue("work_at", gate=gate.path) for _ in range(2)]

    def leases():
        rows = [job_row(session, job_id) for job_id in jobs]
        return {int(row["worker"].split(":")[1]): row["lease_expires_at"] for row in rows if row["worker"]}

    both = {ahead.pid, right.pid}
    first = wait_for(lambda: found if set(found := leases()) == both else None, "a job in each worker")
    wait_for(
        lambda: all(end - first[pid] > LEASE for pid, end in leases().items()),
        "leases that were renewed for longer than a lease",
    )
    assert [attempt_outcomes(session, job_id) for job_id in jobs] == [[None], [None]]

    ahead.kill()
    gate.open()
    results = [await_status(job_id, "completed")["result"] for job_id in jobs]
    assert sorted(results) == [1, 2]
