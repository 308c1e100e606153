"""The ends of a worker: none loses what it has taken, and none does it twice."""

import subprocess
import time
from signal import SIGINT, SIGKILL, SIGQUIT, SIGTERM

import pytest

from waiting import wait_for

SHORT_VISIBILITY = {"visibility_timeout": 2, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}


def start_another(app, **options):
    return app.start_worker(**options).await_ready()


def assert_none_runs_again(app):
    """What comes after has been worked on, and nothing else was delivered."""
    assert app.run("add", 1, 2) == 3
    assert app.inspect(app.workers[-1], "stats")["total"] == {"pool_tasks.add": 1}


def test_a_warm_shutdown_waits_for_what_runs_and_acknowledges_it(app):
    worker = app.start_worker().await_ready()
    results = [app.send(name, name) for name in ("at_gate", "at_gate_in_thread", "at_gate_in_process")]
    for name in ("at_gate", "at_gate_in_thread", "at_gate_in_process"):
        app.await_lines(f"{name}.arrived")
    worker.send(SIGTERM)
    wait_for(lambda: "Warm shutdown" in worker.log, "the shutdown")
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(1)
    for name in ("at_gate", "at_gate_in_thread", "at_gate_in_process"):
        app.open(name)
    assert worker.wait() == 0
    assert [app.get(result) is not None for result in results] == [True] * 3
    start_another(app)
    assert_none_runs_again(app)


def test_a_warm_shutdown_leaves_what_waits_to_the_next_worker(app):
    worker = app.start_worker(concurrency=1, worker_prefetch_multiplier=4).await_ready()
    results = [app.send("at_gate", name) for name in ("first", "second", "third")]
    app.await_lines("first.arrived")
    wait_for(lambda: len(app.inspect(worker, "reserved")) == 2, "the messages")
    worker.send(SIGTERM)
    wait_for(lambda: "Warm shutdown" in worker.log, "the shutdown")
    for name in ("first", "second", "third"):
        app.open(name)
    assert worker.wait() == 0
    start_another(app)
    assert [app.get(result) for result in results] == ["first", "second", "third"]
    assert [len(app.lines(f"{name}.arrived")) for name in ("first", "second", "third")] == [1, 1, 1]


@pytest.mark.parametrize("signals", [[SIGQUIT], [SIGINT, SIGINT]])
def test_a_cold_shutdown_ends_soon_and_what_ran_is_delivered_again(app, signals):
    worker = app.start_worker().await_ready()
    names = ["at_gate", "at_gate_in_thread", "at_gate_in_process"]
    results = [app.send(name, name) for name in names]
    for name in names:
        app.await_lines(f"{name}.arrived")
    began = time.monotonic()
    for number, signal in enumerate(signals):
        worker.send(signal)
        wait_for(lambda n=number: worker.log.count("worker: ") > n, "the signal's answer")
    worker.wait()
    assert time.monotonic() - began < 10
    assert [result.state for result in results] == ["STARTED"] * 3
    for name in names:
        app.open(name)
    start_another(app)
    assert all(app.get(result) for result in results)
    assert [len(app.lines(f"{name}.arrived")) for name in names] == [2, 2, 2]


def test_a_cold_shutdown_leaves_behind_what_hears_nothing(app):
    worker = app.start_worker().await_ready()
    app.send("sleep_in_thread")
    app.await_lines("asleep")
    began = time.monotonic()
    worker.send(SIGQUIT)
    worker.wait()
    assert time.monotonic() - began < 10


def test_a_soft_shutdown_lets_end_what_can_and_gives_the_rest_back(app):
    worker = app.start_worker(environment={"REMAP_SIGTERM": "SIGQUIT"}, worker_soft_shutdown_timeout=3)
    worker.await_ready()
    short, long = app.send("at_gate", "short"), app.send("at_gate", "long")
    app.await_lines("short.arrived")
    app.await_lines("long.arrived")
    worker.send(SIGTERM)
    wait_for(lambda: "Initiating Soft Shutdown" in worker.log, "the shutdown")
    app.open("short")
    assert app.get(short) == "short"
    worker.wait()
    assert app.lines("long.done") == []
    app.open("long")
    start_another(app)
    assert app.get(long) == "long"
    assert [len(app.lines(f"{name}.arrived")) for name in ("short", "long")] == [1, 2]


def test_what_a_killed_worker_had_is_delivered_again(app):
    transport = app.celery.conf.broker_transport_options | SHORT_VISIBILITY
    worker = app.start_worker(broker_transport_options=transport).await_ready()
    late, early = app.send("at_gate", "late"), app.send("at_gate_acknowledged", "early")
    app.await_lines("late.arrived")
    app.await_lines("early.arrived")
    worker.signal_all(SIGKILL)
    worker.wait()
    app.open("late")
    start_another(app, broker_transport_options=transport)
    assert app.get(late) == "late"
    assert early.state == "STARTED"  # acknowledged when it began, as the task asked for


def test_a_worker_ends_when_it_has_run_as_many_tasks_as_it_may(app):
    worker = app.start_worker("--max-tasks-per-child=3").await_ready()
    gated = app.send("at_gate", "gate")
    app.await_lines("gate.arrived")
    assert [app.run("add", number, 1) for number in range(2)] == [1, 2]
    last = app.send("at_gate", "other")
    app.await_lines("other.arrived")
    app.open("gate")
    wait_for(lambda: "This worker ends, to be started anew, as it has run 3 tasks" in worker.log, "its end")
    app.open("other")
    assert worker.wait() == 0
    assert [app.get(result) for result in (gated, last)] == ["gate", "other"]
