"""A backlog that a worker with many places takes out of PostgreSQL, without a message for each job."""

import signal

import pytest
from sqlalchemy import text

from celery_worker.test_running import watched_events
from factories import attempt_outcomes, job_row
from holdfast.jobs import queues
from waiting import wait_for

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def insert_jobs(session):
    """Queue jobs of a task past the engine, unsent; returns their ids."""

    def insert(task, count, *, args="{}", priority=5):
        rows = session.execute(
            text(
                "INSERT INTO holdfast.jobs (id, task, queue, priority, args, max_attempts)"
                " SELECT gen_random_uuid(), :task, 'default', :priority, CAST(:args AS jsonb), 4"
                " FROM generate_series(1, :count) RETURNING id"
            ),
            {"task": task, "count": count, "priority": priority, "args": args},
        )
        ids = list(rows.scalars())
        session.commit()
        return ids

    return insert


@pytest.fixture
def count(session):
    """How many jobs there are of which this is true."""

    def count(condition):
        session.rollback()
        return session.execute(text(f"SELECT count(*) FROM holdfast.jobs WHERE {condition}")).scalar_one()

    return count


def at(gate):
    return f'{{"gate": "{gate.path}"}}'


def test_backlog_of_functions_and_coroutines_is_done_once_without_messages(
    start_worker, insert_jobs, count, session
):
    insert_jobs("where", 300)
    insert_jobs("add", 200, args='{"a": 1, "b": 1}')
    start_worker(pool="asyncio", concurrency=50)

    wait_for(lambda: count("status = 'completed'") == 500, "all jobs", 120)

    assert session.execute(text("SELECT count(*) FROM holdfast.attempts")).scalar_one() == 500
    assert count("sent_at IS NOT NULL") == 0


def test_celery_sees_each_job_that_was_taken_by_its_id(start_worker, insert_jobs, count, holdfast):
    start_worker("--task-events", pool="asyncio", concurrency=5)
    with watched_events(holdfast.celery) as events:
        ids = {str(job_id) for job_id in insert_jobs("where", 20)}
        wait_for(lambda: count("status = 'completed'") == 20, "all jobs", 60)

        for kind in ("task-received", "task-started", "task-succeeded"):
            wait_for(
                lambda kind=kind: {e["uuid"] for e in events if e["type"] == kind} >= ids,
                f"{kind} of all jobs",
            )
    assert {event["name"] for event in events if event["type"] == "task-received"} == {"where"}
    wait_for(lambda: holdfast.celery.AsyncResult(ids.pop()).state == "SUCCESS", "the state in Celery")


def test_no_worker_takes_more_than_it_has_places_for(start_worker, insert_jobs, count, gate):
    insert_jobs("work_at_async", 8, args=at(gate))
    for _ in range(2):
        start_worker(pool="asyncio", concurrency=3)
    wait_for(lambda: count("status = 'processing'") == 6, "both workers at work")

    by_worker = "worker IN (SELECT worker FROM holdfast.jobs GROUP BY worker HAVING count(*) = 3)"
    assert count(by_worker) == 6
    gate.open()
    wait_for(lambda: count("status = 'completed'") == 8, "the others as well")


def test_urgent_jobs_are_taken_first_and_those_of_a_paused_queue_not_at_all(
    start_worker, insert_jobs, count, session, make_gate
):
    gate, urgent_gate = make_gate("gate"), make_gate("urgent")
    queues.pause(session, "default")
    insert_jobs("work_at_async", 6, args=at(gate))
    urgent = insert_jobs("work_at_async", 2, args=at(urgent_gate), priority=1)
    start_worker(pool="asyncio", concurrency=2)
    wait_for(lambda: session.execute(text("SELECT pulls FROM holdfast.workers")).scalar(), "a worker's word")
    assert count("attempt > 0") == 0

    queues.resume(session, "default")
    session.commit()
    wait_for(lambda: count("status = 'processing'") == 2, "a worker at work")
    assert {job_row(session, job_id)["status"] for job_id in urgent} == {"processing"}
    urgent_gate.open()
    gate.open()
    wait_for(lambda: count("status = 'completed'") == 8, "all jobs")


def test_jobs_in_the_hands_of_a_killed_worker_are_resumed_by_another(
    start_worker, insert_jobs, count, session, gate
):
    jobs = insert_jobs("work_at_async", 30, args=at(gate))
    first = start_worker(pool="asyncio", concurrency=50)
    wait_for(lambda: count("status = 'processing'") == 30, "all at work")
    start_worker(pool="asyncio", concurrency=50)
    first.kill()
    wait_for(lambda: count("attempt = 2 AND status = 'processing'") == 30, "all taken over")
    gate.open()

    wait_for(lambda: count("status = 'completed'") == 30, "all jobs")
    assert attempt_outcomes(session, jobs[0]) == ["lost", "completed"]
    effects = text("SELECT count(*), count(DISTINCT job_id) FROM public.effects")
    assert session.execute(effects).one() == (30, 30)


def test_shutdown_counts_as_no_crash_of_what_was_taken(start_worker, insert_jobs, count, session, gate):
    insert_jobs("work_at_async", 30, args=at(gate))
    worker = start_worker(pool="asyncio", concurrency=10, HOLDFAST_SHUTDOWN_SECONDS="2")
    wait_for(lambda: count("status = 'processing'") == 10, "ten at work")
    worker.send(signal.SIGTERM)
    worker.wait(20)

    assert count("status = 'queued' AND crashes = 0") == 30
    gate.open()
    start_worker(pool="asyncio", concurrency=50)
    wait_for(lambda: count("status = 'completed'") == 30, "all jobs")
    outcomes = text("SELECT DISTINCT outcome FROM holdfast.attempts")
    assert set(session.scalars(outcomes)) == {"handed_back", "completed"}


def test_worker_of_another_pool_is_sent_its_share(start_worker, insert_jobs, count):
    start_worker(pool="asyncio", concurrency=1)
    start_worker(pool="prefork", concurrency=1)
    insert_jobs("where", 60)
    wait_for(lambda: count("status = 'completed'") == 60, "all jobs", 60)

    assert count("attempt > 1") == 0
    assert count("sent_at IS NOT NULL") > 0


def test_worker_that_has_done_its_share_drains_and_ends(start_worker, enqueue, await_status, count):
    worker = start_worker("--max-tasks-per-child=20", pool="asyncio", concurrency=10)
    jobs = [enqueue("where") for _ in range(25)]
    assert worker.wait(60) == 0

    assert count("status = 'completed'") >= 20
    assert count("status = 'processing' OR crashes > 0") == 0
    assert "to be started anew, as it has run 20 tasks" in worker.log
    start_worker(pool="asyncio")
    for job_id in jobs:
        await_status(job_id, "completed")


def test_jobs_of_a_task_that_nobody_knows_are_told_and_put_off(start_worker, insert_jobs, count, session):
    insert_jobs("unheard_of", 3)
    session.execute(text("UPDATE holdfast.jobs SET run_at = now() - interval '1 minute'"))
    session.commit()
    worker = start_worker(pool="asyncio", concurrency=5)
    insert_jobs("where", 3)

    wait_for(lambda: "which does not know the task" in worker.log, "the warning")
    assert "'unheard_of'" in worker.log
    wait_for(lambda: count("task = 'unheard_of' AND run_at > now() AND sent_at IS NULL") == 3, "the delay")
    wait_for(lambda: count("status = 'completed'") == 3, "the others")
