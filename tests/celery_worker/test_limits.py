"""Attempts that take too long or were cancelled: however they run, they end, and nothing else does."""

import functools

import pytest

import ending_tasks
from factories import attempt_outcomes, job_row
from holdfast.jobs import store
from waiting import wait_for

CANCEL_SECONDS = 2.0
EVERYWHERE = [
    ("prefork", "sleep_long"),
    ("prefork", "work_long"),
    ("prefork", "wait_long"),
    ("threads", "work_long"),
    ("threads", "wait_long"),
    ("asyncio", "wait_long"),
    ("solo", "sleep_long"),
    ("solo", "wait_long"),
]


@pytest.fixture
def holdfast(holdfast):
    ending_tasks.register(holdfast)
    return holdfast


@pytest.fixture
def start_worker(start_worker):
    # Celery imports the module before any other, so that it can shorten the grace.
    return functools.partial(start_worker, app="ending_tasks", by_celery=True)


@pytest.fixture
def enqueue(holdfast, session):
    def enqueue(name, **arguments):
        job_id = holdfast.tasks[name].enqueue(session, **arguments).job_id
        session.commit()
        return job_id

    return enqueue


def has_left(gate, attempt=1):
    return gate.path.with_name(f"{gate.path.name}.left.{attempt}").exists()


@pytest.mark.parametrize(("pool", "name"), EVERYWHERE)
def test_attempt_that_takes_too_long_cleans_up_and_is_retried(
    start_worker, enqueue, await_status, session, gate, pool, name
):
    start_worker(pool=pool)
    job_id = enqueue(name, gate=gate.path, timeout=0.5)

    assert await_status(job_id, "completed")["result"] == 2
    assert has_left(gate)
    assert attempt_outcomes(session, job_id) == ["retried", "completed"]
    row = job_row(session, job_id)
    assert (row["failures"], row["crashes"]) == (1, 0)
    # Started again, or the first attempt's own: the history keeps why.
    query = "SELECT error FROM holdfast.attempts WHERE job_id = %s AND attempt = 1"
    error = session.connection().exec_driver_sql(query, (job_id,)).scalar_one()
    assert (error["code"], error["attempt"]) == ("timeout", 1)
    assert name in error["traceback"]


def test_process_of_a_task_that_does_not_leave_is_killed_and_no_other(
    start_worker, enqueue, await_status, holdfast, session, make_gate
):
    worker = start_worker()
    stuck, neighbour = make_gate("stuck"), make_gate("neighbour")
    working = enqueue("work_long", gate=neighbour.path)
    neighbour_child = neighbour.await_arrival()
    job_id = enqueue("refuse_to_leave", gate=stuck.path, timeout=0.5)
    child = stuck.await_arrival()

    assert await_status(job_id, "completed")["result"] == 2
    assert stuck.await_arrival(2) != child
    assert attempt_outcomes(session, job_id) == ["retried", "completed"]
    assert job_row(session, job_id)["crashes"] == 0
    assert f"process {child} was killed" in worker.log
    assert neighbour_child in worker.children()
    neighbour.open()
    assert await_status(working, "completed")["result"] == 1
    wait_for(lambda: "exited with" in worker.log or "WorkerLost" in worker.log, "Celery's notice of it")
    wait_for(lambda: holdfast.celery.AsyncResult(str(job_id)).state == "SUCCESS", "Celery's state")


def test_last_attempt_that_does_not_leave_fails_the_job_in_celery_as_well(
    start_worker, enqueue, await_status, holdfast, session, gate
):
    start_worker(concurrency=1)
    job_id = enqueue("refuse_to_leave", gate=gate.path, timeout=30, deadline=0.8)

    row = await_status(job_id, "failed")
    assert row["error"]["code"] == "deadline_exceeded"
    assert attempt_outcomes(session, job_id) == ["failed"]
    outcome = holdfast.celery.AsyncResult(str(job_id))
    wait_for(lambda: outcome.state == "FAILURE", "Celery's state of a job that failed")
    assert "deadline_exceeded" in str(outcome.result)
    assert await_status(enqueue("add", a=1, b=1), "completed")["attempt"] == 1


def test_job_of_a_thread_that_does_not_leave_ends_and_the_log_tells_where_the_thread_is(
    start_worker, enqueue, await_status, holdfast, session, gate
):
    worker = start_worker(pool="threads")
    job_id = enqueue("refuse_to_leave", gate=gate.path, deadline=0.8)

    assert await_status(job_id, "failed")["error"]["code"] == "deadline_exceeded"
    wait_for(lambda: "does not leave. It is here" in worker.log, "the stack of the thread")
    assert "in refuse_to_leave" in worker.log
    assert await_status(enqueue("add", a=1, b=1), "completed")["attempt"] == 1
    gate.open()
    outcome = holdfast.celery.AsyncResult(str(job_id))
    wait_for(lambda: outcome.state == "FAILURE", "Celery's state, when the thread has left")
    assert attempt_outcomes(session, job_id) == ["failed"]


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads", "solo"])
def test_coroutine_that_does_not_leave_holds_no_slot(
    start_worker, enqueue, await_status, session, gate, pool
):
    worker = start_worker(pool=pool, concurrency=1)
    job_id = enqueue("refuse_to_leave_async", gate=gate.path, deadline=0.8)
    after = enqueue("add", a=1, b=1)

    assert await_status(after, "completed")["attempt"] == 1
    assert job_row(session, job_id)["error"]["code"] == "deadline_exceeded"
    if pool != "prefork":  # where its process was killed
        assert "in refuse_to_leave_async" in worker.log


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads", "solo"])
def test_cancelled_coroutine_leaves_within_seconds(
    start_worker, enqueue, await_status, holdfast, session, gate, pool
):
    start_worker(pool=pool)
    job_id = enqueue("wait_long", gate=gate.path)
    gate.await_arrival()
    for _ in range(2):
        store.cancel(session, job_id)
        session.commit()

    row = await_status(job_id, "cancelled")
    assert (row["completed_at"] - row["cancel_requested_at"]).total_seconds() < CANCEL_SECONDS
    assert has_left(gate)
    assert attempt_outcomes(session, job_id) == ["cancelled"]
    outcome = holdfast.celery.AsyncResult(str(job_id))
    wait_for(lambda: outcome.state == "REVOKED", "Celery's state of a cancelled job")


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads"])
@pytest.mark.parametrize("name", ["ask_often", "work_long"])
def test_cancelled_function_leaves_at_its_next_look_or_after_its_grace(
    start_worker, enqueue, await_status, session, gate, pool, name
):
    start_worker(pool=pool)
    job_id = enqueue(name, gate=gate.path)
    gate.await_arrival()
    store.cancel(session, job_id)
    session.commit()

    row = await_status(job_id, "cancelled")
    seconds = (row["completed_at"] - row["cancel_requested_at"]).total_seconds()
    grace = 0 if name == "ask_often" else ending_tasks.GRACE_SECONDS
    assert grace <= seconds < grace + CANCEL_SECONDS
    assert has_left(gate)
    assert attempt_outcomes(session, job_id) == ["cancelled"]


def test_cancelled_job_that_does_not_leave_is_ended_with_its_process(
    start_worker, enqueue, await_status, holdfast, session, gate
):
    worker = start_worker(concurrency=1)
    job_id = enqueue("refuse_to_leave", gate=gate.path)
    child = gate.await_arrival()
    store.cancel(session, job_id)
    session.commit()

    await_status(job_id, "cancelled")
    wait_for(lambda: child not in worker.children(), "the end of its process")
    assert attempt_outcomes(session, job_id) == ["cancelled"]
    outcome = holdfast.celery.AsyncResult(str(job_id))
    wait_for(lambda: outcome.state == "REVOKED", "Celery's state of a cancelled job")
    assert await_status(enqueue("add", a=1, b=1), "completed")["attempt"] == 1


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads", "solo"])
def test_ctrl_c_raised_by_a_coroutine_ends_its_attempt_and_nothing_else(
    start_worker, enqueue, await_status, session, gate, pool
):
    start_worker(pool=pool, concurrency=1)
    failed = enqueue("press_ctrl_c")

    assert await_status(failed, "failed")["error"]["message"] == "KeyboardInterrupt: "
    assert attempt_outcomes(session, failed) == ["retried"] * 3 + ["failed"]
    gate.open()
    assert await_status(enqueue("wait_long", gate=gate.path), "completed")["attempt"] == 1
