"""Workers that are asked to end: what runs is finished or handed back, in time, in every pool."""

import functools
import signal
import time

import pytest

import ending_tasks
from factories import attempt_outcomes, job_row
from waiting import wait_for

POOLS = ["asyncio", "prefork", "threads", "solo"]
GRACE_SECONDS = 8
# A worker is sure to have ended so long after a signal that means: at once.
AT_ONCE_SECONDS = 4


@pytest.fixture
def holdfast(holdfast):
    ending_tasks.register(holdfast)
    return holdfast


@pytest.fixture
def start_worker(start_worker):
    return functools.partial(
        start_worker, app="ending_tasks", HOLDFAST_SHUTDOWN_SECONDS=str(GRACE_SECONDS), concurrency=1
    )


@pytest.fixture
def end(session):
    """Send a worker a signal, and wait for its end; returns its status and how long it took."""

    def end(worker, *signals):
        began = time.monotonic()
        for number in signals:
            worker.send(number)
            wait_for(lambda: "hutting down" in worker.log, "the begin of the shutdown")
        return worker.wait(), time.monotonic() - began

    return end


def workers(session):
    session.rollback()
    return session.connection().exec_driver_sql("SELECT count(*) FROM holdfast.workers").scalar_one()


# Each way to outlast it, and each pool, but not all of both: a case takes half a minute.
OUTLASTING = [
    *(("prefork", name) for name in ("wait_long", "sleep_long", "refuse_to_leave")),
    ("threads", "wait_long"),
    ("asyncio", "wait_long"),
    ("threads", "refuse_to_leave"),
    ("threads", "refuse_to_leave_async"),
    ("asyncio", "refuse_to_leave_async"),
    ("solo", "sleep_long"),
]


@pytest.mark.parametrize(("pool", "name"), OUTLASTING)
def test_job_that_outlasts_the_grace_is_handed_back_and_run_by_another(
    start_worker, enqueue, await_status, end, session, gate, pool, name
):
    worker = start_worker(pool=pool)
    job_id = enqueue(name, gate=gate.path)
    gate.await_arrival()
    start_worker()
    status, seconds = end(worker, signal.SIGTERM)

    assert status == 0
    assert seconds < GRACE_SECONDS
    assert await_status(job_id, "completed")["result"] == 2
    assert attempt_outcomes(session, job_id) == ["handed_back", "completed"]
    row = job_row(session, job_id)
    assert (row["failures"], row["crashes"], workers(session)) == (0, 0, 1)
    has_left = gate.path.with_name(f"{gate.path.name}.left.1").exists()
    assert has_left or name.startswith("refuse") or (pool, name) == ("threads", "sleep_long")


@pytest.mark.parametrize("pool", POOLS)
def test_job_that_ends_within_the_grace_completes(start_worker, enqueue, await_status, session, gate, pool):
    worker = start_worker(pool=pool)
    job_id = enqueue("work_long", gate=gate.path)
    gate.await_arrival()
    worker.send(signal.SIGTERM)
    wait_for(lambda: "Shutting down" in worker.log, "the shutdown")
    gate.open()

    assert worker.wait(GRACE_SECONDS) == 0
    assert job_row(session, job_id)["result"] == 1
    assert attempt_outcomes(session, job_id) == ["completed"]
    assert workers(session) == 0


TWICE = [
    *((pool, (signal.SIGTERM, signal.SIGTERM)) for pool in POOLS),
    ("threads", (signal.SIGQUIT,)),
    ("prefork", (signal.SIGINT, signal.SIGINT)),
]


@pytest.mark.parametrize(("pool", "signals"), TWICE, ids=str)
def test_worker_that_is_told_twice_ends_at_once(
    start_worker, enqueue, await_status, end, session, gate, pool, signals
):
    worker = start_worker(pool=pool, HOLDFAST_SHUTDOWN_SECONDS="60")
    job_id = enqueue("refuse_to_leave", gate=gate.path)
    gate.await_arrival()
    status, seconds = end(worker, *signals)

    assert status == 0
    assert seconds < AT_ONCE_SECONDS
    row = job_row(session, job_id)
    assert (row["status"], row["failures"], row["crashes"]) == ("queued", 0, 0)
    assert attempt_outcomes(session, job_id) == ["handed_back"]


@pytest.mark.parametrize("pool", POOLS)
def test_jobs_that_a_worker_has_not_started_are_started_elsewhere_at_once(
    start_worker, enqueue, await_status, end, session, gate, pool
):
    worker = start_worker(pool=pool, HOLDFAST_SHUTDOWN_SECONDS="60")
    enqueue("work_long", gate=gate.path)
    gate.await_arrival()
    waiting = [enqueue("add", a=1, b=number) for number in range(3)]
    start_worker(pool=pool)
    worker.send(signal.SIGTERM)
    began = time.monotonic()
    for job_id in waiting:
        await_status(job_id, "completed")

    assert time.monotonic() - began < 5
    assert worker.is_running
    gate.open()
    assert worker.wait() == 0


def test_worker_that_cannot_reach_postgresql_ends_in_time(start_worker, enqueue, admin, end, session, gate):
    worker = start_worker()
    enqueue("work_long", gate=gate.path)
    gate.await_arrival()
    name = session.bind.url.database
    session.rollback()
    admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
    try:
        status, seconds = end(worker, signal.SIGTERM)
    finally:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        session.invalidate()

    assert (status, seconds < GRACE_SECONDS) == (0, True)
