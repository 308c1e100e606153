"""What a Celery user expects of a worker, in every pool."""

import json
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from factories import attempt_outcomes, job_row
from holdfast.celery.carrier import CeleryCarrier
from holdfast.jobs.delivery.sending import Delivery
from holdfast.jobs.ids import new_id
from waiting import wait_for

POOLS = ["asyncio", "prefork", "threads", "solo"]


@pytest.fixture
def celery(environment):
    """Run a `celery` command; returns what it printed as JSON."""

    def run(*arguments):
        command = [sys.executable, "-m", "celery", "-A", "worker_tasks", *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@contextmanager
def watched_events(celery):
    """A list that gets every event from now on."""
    events, listening = [], threading.Event()
    with celery.connection_for_read() as connection:
        receiver = celery.events.Receiver(connection, handlers={"*": events.append})
        receiver.on_consume_ready = lambda *_, **__: listening.set()
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "wakeup": False})
        thread.start()
        try:
            assert listening.wait(30)
            yield events
        finally:
            receiver.should_stop = True
            thread.join(30)


@pytest.mark.parametrize("pool", POOLS)
def test_pool_runs_def_and_async_def_jobs(start_worker, enqueue, await_status, session, holdfast, pool):
    worker = start_worker(pool=pool, by_celery=True)
    sums = [enqueue("add", a=1, b=number) for number in range(4)]
    places = [enqueue("where") for _ in range(6)]
    retried = enqueue("fail_once")
    failed = enqueue("fail")

    assert [await_status(job_id, "completed")["result"] for job_id in sums] == [1, 2, 3, 4]
    loops = {tuple(await_status(job_id, "completed")["result"]) for job_id in places}
    processes = {pid for pid, _ in loops}
    assert len(loops) == len(processes), "one event loop for each process"
    assert processes <= {worker.pid, *worker.children()}
    assert await_status(retried, "completed")["result"] == 2
    assert attempt_outcomes(session, retried) == ["retried", "completed"]
    assert await_status(failed, "failed")["error"]["message"] == "ValueError: as asked"

    outcome = holdfast.celery.AsyncResult(str(failed))
    wait_for(lambda: outcome.state == "FAILURE", "the Celery state of a failed job")
    assert "as asked" in str(outcome.result)


@pytest.mark.parametrize("name", ["work_at", "work_at_async"])
def test_celery_shows_a_job_from_progress_to_success(
    start_worker, enqueue, await_status, holdfast, gate, celery, name
):
    start_worker()
    job_id = enqueue(name, gate=gate.path)
    gate.await_arrival()
    outcome = holdfast.celery.AsyncResult(str(job_id))

    wait_for(lambda: outcome.state == "PROGRESS", "the Celery state of a running job")
    assert outcome.info == {"current": 3, "total": 10, "message": "at the gate"}
    if name == "work_at":
        inspect = holdfast.celery.control.inspect(["worker1@test"], timeout=10)
        assert inspect.ping() == {"worker1@test": {"ok": "pong"}}
        assert "work_at" in inspect.registered()["worker1@test"]
        (active,) = celery("inspect", "active")["worker1@test"]
        assert (active["id"], active["name"]) == (str(job_id), name)

    gate.open()
    wait_for(lambda: outcome.state == "SUCCESS", "the Celery state of a finished job")
    assert outcome.result == 1
    await_status(job_id, "completed")


def test_arguments_and_results_are_in_no_log_and_no_event(start_worker, enqueue, await_status, holdfast):
    worker = start_worker("--task-events")
    with watched_events(holdfast.celery) as events:
        job_id = enqueue("keep_secret", secret="user data")
        await_status(job_id, "completed")
        wait_for(lambda: "task-succeeded" in {event["type"] for event in events}, "the event of success")

    wait_for(lambda: "succeeded" in worker.log, "the log of success")
    ours = [event for event in events if event.get("uuid") == str(job_id)]
    assert {"task-received", "task-started", "task-succeeded"} <= {event["type"] for event in ours}
    assert "user data" not in json.dumps(events)
    assert "user data" not in worker.log


def test_message_for_a_job_that_does_not_exist_is_harmless(start_worker, enqueue, await_status, holdfast):
    worker = start_worker(concurrency=1)
    carrier = CeleryCarrier(holdfast.celery)
    carrier.send([Delivery(new_id(), "add", "default", 5)])
    carrier.send([Delivery(new_id(), "nobody_knows_it", "default", 5)])

    assert await_status(enqueue("add", a=1, b=1), "completed")["result"] == 2
    assert worker.is_running


def test_job_delivered_twice_runs_once(start_worker, enqueue, await_status, holdfast, session, effects, gate):
    job_id = enqueue("work_at", gate=gate.path)
    CeleryCarrier(holdfast.celery).send([Delivery(job_id, "work_at", "default", 5)] * 3)
    gate.open()
    start_worker()
    await_status(job_id, "completed")
    await_status(enqueue("add", a=1, b=1), "completed")

    assert effects(job_id) == [1]
    assert job_row(session, job_id)["attempt"] == 1


@pytest.mark.parametrize(("pool", "name"), [("asyncio", "work_at_async"), ("prefork", "work_at")])
def test_job_that_is_revoked_is_cancelled(
    start_worker, enqueue, await_status, holdfast, session, make_gate, pool, name
):
    first, second = make_gate("first"), make_gate("second")
    start_worker(pool=pool, concurrency=1)
    running = enqueue(name, gate=first.path)
    first.await_arrival()
    waiting = enqueue(name, gate=second.path)
    control = holdfast.celery.control
    wait_for(lambda: control.inspect().active(), "a worker that answers")

    control.revoke([str(running), str(waiting)], terminate=True)

    await_status(running, "cancelled")
    await_status(waiting, "cancelled")
    assert set(attempt_outcomes(session, waiting)) <= {"cancelled"}, "its slot may have been free by then"
