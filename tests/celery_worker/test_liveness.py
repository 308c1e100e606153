"""A worker that lives and takes no more messages is noticed, tells of it, and ends."""

import signal

import pytest
from sqlalchemy import text

from factories import job_row
from holdfast import JobContext
from waiting import wait_for

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def is_consuming(session):
    """Whether the only worker says that it consumes."""

    def is_consuming():
        session.rollback()
        query = text("SELECT consuming_at = heartbeat_at FROM holdfast.workers")
        return session.execute(query).scalar_one_or_none()

    return is_consuming


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads"])
def test_worker_whose_consumer_is_deaf_says_so_and_ends(
    start_worker, enqueue, await_status, is_consuming, session, pool
):
    worker = start_worker(app="deaf_tasks", pool=pool)
    assert await_status(enqueue("add", a=1, b=1), "completed")
    wait_for(is_consuming, "a worker that consumes")
    worker.send(signal.SIGUSR2)
    job_id = enqueue("add", a=1, b=2)

    wait_for(lambda: is_consuming() is False, "a worker that says that it does not consume")
    assert worker.wait(60) == 0
    assert "The consumer of this worker has stopped" in worker.log
    assert job_row(session, job_id)["status"] == "queued"
    start_worker(app="deaf_tasks", pool=pool)
    assert await_status(job_id, "completed")["result"] == 3


def test_worker_that_was_told_not_to_consume_is_left_alone(
    start_worker, enqueue, is_consuming, holdfast, session
):
    worker = start_worker()
    wait_for(is_consuming, "a worker that consumes")
    holdfast.celery.control.cancel_consumer("default", reply=True, timeout=10)
    enqueue("add", a=1, b=1)

    wait_for(lambda: is_consuming() is False, "a worker that says that it does not consume")
    wait_for(lambda: worker_queues(session) == [], "a worker without queues")
    assert worker.is_running


def test_job_of_an_unknown_task_is_put_off_and_told_in_words(
    start_worker, holdfast, enqueue, session, await_status
):
    def only_here(job: JobContext) -> None: ...

    worker = start_worker()
    task = holdfast.task(name="only_here")(only_here)
    job_id = task.enqueue(session).job_id
    session.commit()
    wait_for(lambda: "Jobs of task 'only_here' come from queue 'default'" in worker.log, "words in the log")
    row = job_row(session, job_id)

    assert row["status"] == "queued"
    assert (row["run_at"] - row["created_at"]).total_seconds() > 4
    assert "no worker that answers does" in worker.log
    assert "Received unregistered task" not in worker.log
    assert await_status(enqueue("add", a=1, b=1), "completed")


def worker_queues(session):
    session.rollback()
    return session.execute(text("SELECT queues FROM holdfast.workers")).scalar_one()
