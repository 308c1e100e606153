"""Slots: every one is given back, whatever a task raises."""

from uuid import uuid4

import pytest
from celery import group

from waiting import wait_for

CONCURRENCY = 4
STRANGE = ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "CancelledError", "MemoryError"]


@pytest.fixture(scope="module")
def small(make_app):
    app = make_app()
    app.worker = app.start_worker(concurrency=CONCURRENCY).await_ready()
    yield app
    app.close()


def assert_all_slots_work(app):
    app.get(group(app.signature("meet", "all", CONCURRENCY) for _ in range(CONCURRENCY)).apply_async())


@pytest.mark.parametrize("what", STRANGE)
def test_slots_survive_coroutines_that_raise(small, what):
    results = [small.send("fail", what) for _ in range(2 * CONCURRENCY)]
    assert [small.get(result, propagate=False) for result in results]
    assert {result.state for result in results} == {"FAILURE"}
    assert_all_slots_work(small)


@pytest.mark.parametrize("what", ["SystemExit", "MemoryError"])
def test_slots_survive_functions_that_raise(small, what):
    results = [small.send("fail_in_thread", what) for _ in range(2 * CONCURRENCY)]
    assert [small.get(result, propagate=False) for result in results]
    assert_all_slots_work(small)


def test_slots_survive_coroutines_that_swallow_a_cancellation(small):
    results = [small.send("cancel_itself") for _ in range(2 * CONCURRENCY)]
    assert [small.get(result) for result in results] == ["swallowed"] * len(results)
    assert_all_slots_work(small)


def test_slots_survive_hard_limits_and_revocations(small):
    late = [small.send("ignore_everything") for _ in range(CONCURRENCY)]
    assert [str(small.get(result, propagate=False)) for result in late]
    gates = [uuid4().hex for _ in range(CONCURRENCY)]
    running = [small.send("at_gate", gate) for gate in gates]
    for gate in gates:
        small.await_lines(f"{gate}.arrived")
    for result in running:
        result.revoke(terminate=True)
    assert [small.get(result, propagate=False) for result in running]
    assert_all_slots_work(small)


def test_no_more_is_taken_than_there_are_slots(make_app, gate):
    app = make_app()
    workers = [app.start_worker(concurrency=2) for _ in range(2)]
    for worker in workers:
        worker.await_ready()
    results = [app.send("at_gate", gate) for _ in range(12)]
    arrived = app.await_lines(f"{gate}.arrived", 4)
    assert sorted(arrived.count(str(worker.pid)) for worker in workers) == [2, 2]
    assert [len(app.inspect(worker, "reserved")) for worker in workers] == [0, 0]
    app.open(gate)
    assert [app.get(result) for result in results] == [gate] * 12
    app.close()


def test_a_pool_can_grow_and_shrink(app):
    worker = app.start_worker(concurrency=1).await_ready()
    app.celery.control.pool_grow(2, destination=[worker.name], reply=True)
    assert max(app.get(result) for result in [app.send("meet", "all", 3) for _ in range(3)]) == 3
    app.celery.control.pool_shrink(2, destination=[worker.name], reply=True)
    gates = ["first", "second"]
    results = [app.send("at_gate", gate) for gate in gates]
    app.await_lines("first.arrived")
    wait_for(lambda: app.inspect(worker, "stats")["pool"]["max-concurrency"] == 1, "the shrunk pool")
    assert app.lines("second.arrived") == []
    for gate in gates:
        app.open(gate)
    assert [app.get(result) for result in results] == gates
