"""Workers, children, brokers and messages that are lost while jobs run: no job is lost, none runs twice."""

import os
import signal
import sys

import psutil
import pytest
import redis

from broker_queue import delete_keys
from factories import attempt_outcomes, job_row
from holdfast.engines import EmbeddedEngines
from holdfast.jobs import store
from waiting import wait_for

LONG_LEASE = "600"


@pytest.mark.parametrize(
    ("pool", "name"), [("prefork", "work_at"), ("threads", "work_at_async"), ("asyncio", "work_at_async")]
)
def test_job_of_a_killed_worker_is_finished_by_another(
    start_worker, enqueue, await_status, effects, session, gate, pool, name
):
    first = start_worker(pool=pool)
    job_id = enqueue(name, gate=gate.path)
    gate.await_arrival(1)
    first.kill()
    start_worker(pool=pool)
    gate.await_arrival(2)
    gate.open()

    assert await_status(job_id, "completed")["result"] == 2
    assert effects(job_id) == [2]
    assert attempt_outcomes(session, job_id) == ["lost", "completed"]


def test_job_of_a_killed_child_is_taken_back_at_once(
    start_worker, enqueue, await_status, effects, session, gate
):
    worker = start_worker(HOLDFAST_LEASE_SECONDS=LONG_LEASE)
    job_id = enqueue("work_at", gate=gate.path)
    child = gate.await_arrival(1)
    assert child in worker.children()
    os.kill(child, signal.SIGKILL)
    gate.await_arrival(2)
    gate.open()

    assert await_status(job_id, "completed")["result"] == 2
    assert effects(job_id) == [2]
    assert attempt_outcomes(session, job_id) == ["lost", "completed"]


@pytest.mark.skipif(sys.platform != "linux", reason="sees there what a process has open")
def test_child_is_replaced_soon_though_its_end_was_not_seen(start_worker, enqueue, await_status):
    worker = start_worker(concurrency=1)
    for _ in range(3):  # Celery's own look, every five seconds, may come at the right moment
        child = await_status(enqueue("hide_end"), "completed")["result"]
        os.kill(child, signal.SIGKILL)
        wait_for(lambda gone=child: set(worker.children()) - {gone}, "another child", seconds=2)


def test_poisonous_job_ends_and_its_neighbour_completes(
    start_worker, enqueue, await_status, effects, session, gate
):
    start_worker(HOLDFAST_LEASE_SECONDS=LONG_LEASE)
    neighbour = enqueue("work_at", gate=gate.path)
    gate.await_arrival(1)
    poison = enqueue("die")

    row = await_status(poison, "failed")
    assert (row["error"]["code"], row["crashes"]) == ("worker_lost", 3)
    assert attempt_outcomes(session, poison) == ["lost", "lost", "lost"]
    gate.open()
    assert await_status(neighbour, "completed")["result"] == 1
    assert effects(neighbour) == [1]


def test_worker_that_slept_past_its_lease_changes_nothing_when_it_wakes(
    start_worker, enqueue, await_status, effects, session, gate
):
    sleeper = start_worker(concurrency=1)
    job_id = enqueue("work_at", gate=gate.path)
    gate.await_arrival(1)
    sleeper.signal_all(signal.SIGSTOP)
    start_worker(concurrency=1)
    gate.await_arrival(2)
    assert attempt_outcomes(session, job_id) == ["lost", None]

    gate.open()
    row = await_status(job_id, "completed")
    sleeper.signal_all(signal.SIGCONT)
    sleeper.send(signal.SIGTERM)
    sleeper.wait()

    assert "has moved on from attempt 1" in sleeper.log
    assert job_row(session, job_id) == row
    assert row["result"] == 2
    assert effects(job_id) == [2]
    assert attempt_outcomes(session, job_id) == ["lost", "completed"]


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads"])
def test_worker_that_is_asked_to_end_finishes_its_job_first(
    start_worker, enqueue, await_status, effects, session, gate, pool
):
    worker = start_worker(pool=pool)
    job_id = enqueue("work_at", gate=gate.path)
    gate.await_arrival(1)
    worker.send(signal.SIGTERM)
    wait_for(lambda: "Warm shutdown" in worker.log, "the warm shutdown")
    lease = job_row(session, job_id)["lease_expires_at"]
    wait_for(
        lambda: (job_row(session, job_id)["lease_expires_at"] - lease).total_seconds() > 4,
        "a lease that is renewed all the while the worker waits for the job",
    )
    gate.open()

    assert worker.wait() == 0
    assert job_row(session, job_id)["status"] == "completed"
    assert effects(job_id) == [1]
    assert attempt_outcomes(session, job_id) == ["completed"]


def test_job_lives_longer_than_its_lease_while_its_worker_does(
    start_worker, enqueue, await_status, session, gate
):
    start_worker(HOLDFAST_LEASE_SECONDS="1")
    job_id = enqueue("work_at", gate=gate.path)
    gate.await_arrival(1)
    first_lease = job_row(session, job_id)["lease_expires_at"]
    wait_for(
        lambda: (job_row(session, job_id)["lease_expires_at"] - first_lease).total_seconds() > 2,
        "a lease renewed several times",
    )
    gate.open()
    assert await_status(job_id, "completed")["result"] == 1


def test_job_that_holds_every_connection_keeps_its_lease(start_worker, enqueue, await_status, session, gate):
    start_worker(pool="threads", HOLDFAST_DATABASE_POOL_SIZE="1")
    job_id = enqueue("work_on_a_connection", gate=gate.path)
    gate.await_arrival(1)
    first_lease = job_row(session, job_id)["lease_expires_at"]
    wait_for(
        lambda: (job_row(session, job_id)["lease_expires_at"] - first_lease).total_seconds() > 2,
        "a lease renewed several times",
    )
    gate.open()
    assert await_status(job_id, "completed")["result"] == 1


@pytest.mark.parametrize(
    ("pool", "name"), [("prefork", "work_at"), ("threads", "work_at_async"), ("asyncio", "work_at_async")]
)
def test_cancelled_job_stops_in_its_worker(start_worker, enqueue, await_status, session, gate, pool, name):
    start_worker(pool=pool)
    job_id = enqueue(name, gate=gate.path)
    gate.await_arrival(1)
    store.cancel(session, job_id)
    session.commit()
    if name == "work_at":
        gate.open()  # a plain function is not interrupted: it finishes, and keeps its result

    assert await_status(job_id, "completed" if name == "work_at" else "cancelled")
    assert await_status(enqueue("add", a=1, b=1), "completed")


def test_jobs_whose_messages_were_flushed_run_once(
    start_worker, enqueue, await_status, holdfast, session, redis_url, redis_prefix, gate, effects
):
    gate.open()
    jobs = [enqueue("work_at", gate=gate.path) for _ in range(4)]
    assert holdfast.outbox.flush(holdfast.settings.lease)
    with redis.Redis.from_url(redis_url) as client:
        delete_keys(client, redis_prefix)
    start_worker()

    for job_id in jobs:
        assert await_status(job_id, "completed")["attempt"] == 1
        assert effects(job_id) == [1]


class TestPrivateValkey:
    """With a Valkey of the test's own, which it may kill."""

    @pytest.fixture
    def valkey(self, tmp_path):
        engines = EmbeddedEngines(tmp_path / "valkey", postgres=False)
        engines.start()
        yield engines
        engines.stop()

    @pytest.fixture
    def redis_url(self, valkey):
        return valkey.start().redis_url

    @pytest.mark.parametrize(
        ("pool", "name"), [("prefork", "work_at"), ("threads", "work_at_async"), ("asyncio", "work_at_async")]
    )
    def test_worker_goes_on_after_its_broker_was_killed(
        self, start_worker, enqueue, await_status, valkey, redis_url, tmp_path, gate, effects, pool, name
    ):
        worker = start_worker(pool=pool)
        running = enqueue(name, gate=gate.path)
        gate.await_arrival(1)
        server = valkey_process(tmp_path / "valkey")
        server.kill()
        wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "its end")

        waiting = enqueue("add", a=1, b=1)
        gate.open()
        assert await_status(running, "completed")["result"] == 1
        valkey.start()

        assert await_status(waiting, "completed", seconds=60)["result"] == 2
        assert effects(running) == [1]
        assert await_status(enqueue("add", a=2, b=2), "completed")["attempt"] == 1
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0


def valkey_process(home):
    pid = int((home / "valkey" / "valkey.pid").read_text())
    return psutil.Process(pid)
