"""Workers on the asyncio pool that are killed, grow too large, or compute, with many jobs in flight."""

import time

import pytest
from sqlalchemy import text

import crowd_tasks
from waiting import wait_for

pytestmark = pytest.mark.timeout(180)

BOTH = ("-Q", "default,computing")


@pytest.fixture
def holdfast(holdfast):
    crowd_tasks.register(holdfast)
    return holdfast


@pytest.fixture
def start_worker(start_worker):
    def start(*arguments, concurrency, **variables):
        options = {"app": "crowd_tasks", "pool": "asyncio", "concurrency": concurrency}
        return start_worker(*arguments, **options, **variables)

    return start


@pytest.fixture
def enqueue_many(holdfast, session):
    """Queue as many jobs of a task, with the same arguments."""

    def enqueue_many(name, count, **arguments):
        holdfast.tasks[name].enqueue_many(session, [arguments] * count)
        session.commit()

    return enqueue_many


@pytest.fixture
def ask(session):
    def ask(query):
        session.rollback()
        return session.execute(text(query)).one()

    return ask


@pytest.fixture
def count(ask):
    """How many jobs there are of which this is true."""
    return lambda condition: ask(f"SELECT count(*) FROM holdfast.jobs WHERE {condition}")[0]


def test_a_thousand_jobs_of_a_killed_worker_go_on_where_they_were(
    start_worker, enqueue_many, count, ask, gate
):
    paid = "SELECT count(*) FROM public.effects"
    enqueue_many("pay_twice", 1_000, gate=str(gate.path))
    first = start_worker(concurrency=1_000)
    wait_for(lambda: count("status = 'processing'") == 1_000, "all in flight", 60)
    wait_for(lambda: ask(paid)[0] > 500, "half of the first steps", 60)
    first.kill()
    killed_at, paid_before = time.monotonic(), ask(paid)[0]
    gate.open()
    start_worker(concurrency=1_000)
    wait_for(lambda: count("status = 'completed'") == 1_000, "all jobs", 60)

    assert time.monotonic() - killed_at < 45
    assert paid_before >= 500
    assert count("attempt = 2 AND crashes = 1") == 1_000
    assert ask("SELECT count(*) FROM public.effects WHERE attempt = 1")[0] == paid_before
    by_job = "SELECT job_id, count(*) AS paid FROM public.effects GROUP BY job_id"
    assert tuple(ask(f"SELECT count(*), min(paid), max(paid) FROM ({by_job}) AS jobs")) == (1_000, 2, 2)


def test_worker_that_has_grown_too_large_drains_and_leaves_the_rest_to_the_next(
    start_worker, enqueue, enqueue_many, await_status, count, gate
):
    worker = start_worker("--max-memory=400", concurrency=5)
    running = enqueue("work_at_async", gate=gate.path)
    gate.await_arrival()
    enqueue_many("leak_on_loop", 100, megabytes=10)
    wait_for(lambda: "This worker ends, to be started anew, as it takes" in worker.log, "its end", 60)
    wait_for(lambda: "Warm shutdown" in worker.log, "the warm shutdown")
    gate.open()
    assert worker.wait() == 0

    assert await_status(running, "completed")["attempt"] == 1
    assert count("status = 'processing' OR crashes > 0") == 0
    assert count("status = 'queued'") > 0
    start_worker(concurrency=5)
    wait_for(lambda: count("status = 'completed'") == 101, "all jobs", 60)
    assert count("failures > 0 OR crashes > 0") == 0


def test_worker_ends_when_what_computes_for_it_has_grown_too_large(
    start_worker, enqueue, enqueue_many, await_status, count, gate
):
    worker = start_worker("--max-memory=400", *BOTH, concurrency=5, HOLDFAST_WORKER_PROCESSES="1")
    running = enqueue("work_at_async", gate=gate.path)
    gate.await_arrival()
    enqueue_many("leak_in_process", 40, megabytes=20)
    wait_for(lambda: "to be started anew, as one of its processes takes" in worker.log, "its end", 60)
    gate.open()
    assert worker.wait() == 0

    assert await_status(running, "completed")["attempt"] == 1
    start_worker(*BOTH, concurrency=5)
    wait_for(lambda: count("status = 'completed'") == 41, "all jobs", 60)
    assert count("failures > 0 OR crashes > 0") == 0


def test_child_of_prefork_that_has_grown_too_large_makes_way_for_another(start_worker, enqueue, await_status):
    worker = start_worker("--max-memory=400", "--pool=prefork", *BOTH, concurrency=1)
    (first,) = worker.children()
    jobs = [enqueue("leak_in_process", megabytes=100) for _ in range(8)]

    pids = [await_status(job_id, "completed")["result"] for job_id in jobs]
    assert first in pids
    assert len(set(pids)) > 1
    assert worker.is_running


def test_what_computes_is_not_kept_waiting_by_a_backlog_beside_it(start_worker, enqueue_many, count, ask):
    enqueue_many("wait_a_moment", 1_500)
    start_worker(*BOTH, concurrency=10)
    wait_for(lambda: count("status = 'completed'") > 20, "a worker at the backlog", 60)
    enqueue_many("compute", 10)
    wait_for(lambda: count("task = 'compute' AND status = 'completed'") == 10, "what computes")
    assert count("task = 'wait_a_moment' AND status = 'queued'") > 500

    first, last = ask("SELECT min(started_at), max(completed_at) FROM holdfast.jobs WHERE task = 'compute'")
    meanwhile = f"completed_at BETWEEN '{first}' AND '{last}'"
    assert count(f"task = 'wait_a_moment' AND {meanwhile}") > 10
