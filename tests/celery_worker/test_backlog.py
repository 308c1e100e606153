"""A backlog with workers at it: flushed, paused, and with jobs that are more important."""

import pytest
import redis
from sqlalchemy import text

from broker_queue import delete_keys
from factories import job_row
from holdfast.jobs import queues
from waiting import wait_for

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def insert_jobs(session):
    """Queue many jobs of `add` past the engine, unsent."""

    def insert(count, *, priority=5):
        session.execute(
            text(
                "INSERT INTO holdfast.jobs (id, task, queue, priority, args, max_attempts)"
                " SELECT gen_random_uuid(), 'add', 'default', :priority, CAST(:args AS jsonb), 4"
                " FROM generate_series(1, :count)"
            ),
            {"count": count, "priority": priority, "args": '{"a": 1, "b": 1}'},
        )
        session.commit()

    return insert


@pytest.fixture
def count_of(session):
    def count_of(status):
        session.rollback()
        query = text("SELECT count(*) FROM holdfast.jobs WHERE status = :status")
        return session.execute(query, {"status": status}).scalar_one()

    return count_of


def test_backlog_that_is_flushed_while_workers_run_is_done_once(
    start_worker, insert_jobs, count_of, session, redis_url, redis_prefix
):
    insert_jobs(600)
    start_worker(pool="threads")
    with redis.Redis.from_url(redis_url) as client:
        for share in (50, 200):
            wait_for(lambda share=share: count_of("completed") > share, "a part of the jobs")
            delete_keys(client, redis_prefix)

    wait_for(lambda: count_of("completed") == 600, "all jobs", 120)
    assert session.execute(text("SELECT count(*) FROM holdfast.attempts")).scalar_one() == 600


def test_paused_queue_runs_on_what_runs_and_starts_nothing(
    start_worker, enqueue, await_status, session, make_gate, count_of
):
    first, second = make_gate("first"), make_gate("second")
    start_worker(concurrency=1)
    running = enqueue("work_at", gate=first.path)
    first.await_arrival()
    waiting = enqueue("work_at", gate=second.path)
    queues.pause(session, "default")
    session.commit()
    later = enqueue("add", a=1, b=1)
    first.open()
    await_status(running, "completed")
    assert {job_row(session, job)["status"] for job in (waiting, later)} == {"queued"}
    assert {job_row(session, job)["sent_at"] for job in (waiting, later)} == {None}

    queues.resume(session, "default")
    session.commit()
    second.await_arrival()
    second.open()
    assert await_status(waiting, "completed")["attempt"] == 1
    assert await_status(later, "completed")["attempt"] == 1


def test_more_important_job_passes_a_backlog(
    start_worker, insert_jobs, await_status, count_of, holdfast, session
):
    insert_jobs(3_000)
    start_worker(pool="threads", concurrency=1)
    wait_for(lambda: count_of("completed") > 5, "a worker at the backlog")
    urgent = holdfast.tasks["add"].enqueue(session, a=2, b=2, priority=0).job_id
    session.commit()

    assert await_status(urgent, "completed", seconds=20)["result"] == 4
    assert count_of("queued") > 500
