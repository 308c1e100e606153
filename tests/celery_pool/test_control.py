"""What can be asked of a worker, and told to it."""

from datetime import UTC, datetime, timedelta

import pytest
from celery.exceptions import ImproperlyConfigured, TaskRevokedError

from holdfast.celery.pool import AsyncioPool
from waiting import wait_for


def test_inspect_shows_what_runs(common, gate):
    result = common.send("at_gate", gate)
    common.await_lines(f"{gate}.arrived")
    assert [task["id"] for task in common.inspect(common.worker, "active")] == [result.id]
    common.open(gate)
    common.get(result)
    wait_for(lambda: common.inspect(common.worker, "active") == [], "nothing that runs")


def test_stats_tell_of_slots_and_of_processes(common):
    pool = common.inspect(common.worker, "stats")["pool"]
    assert pool["max-concurrency"] == 20
    assert pool["running"] == {"task": 0, "coroutine": 0, "thread": 0, "process": 0}
    assert set(pool["processes"]) <= set(common.worker.children())


def test_the_watchdog_names_who_blocks_the_loop_and_where(common):
    result = common.send("block", 0.9)
    common.get(result)
    assert f"Task pool_tasks.block[{result.id}] has blocked the event loop" in common.worker.log
    assert 'pool_tasks.py", line' in common.worker.log
    assert "time.sleep(seconds)" in common.worker.log
    assert common.inspect(common.worker, "stats")["pool"]["blocked the loop"] == {"pool_tasks.block": 1}


@pytest.mark.parametrize("name", ["at_gate", "at_gate_in_thread"])
def test_what_runs_can_be_revoked(common, gate, name):
    result = common.send(name, gate)
    common.await_lines(f"{gate}.arrived")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        common.get(result)
    wait_for(lambda: common.inspect(common.worker, "active") == [], "its end")
    assert (result.state, common.lines(f"{gate}.done")) == ("REVOKED", [])


@pytest.mark.parametrize("name", ["at_gate", "at_gate_in_thread", "at_gate_in_process"])
def test_what_waits_can_be_revoked_or_expire_and_does_not_run(app, name):
    worker = app.start_worker(concurrency=1, worker_prefetch_multiplier=4).await_ready()
    first = app.send(name, "first")
    app.await_lines("first.arrived")
    revoked, terminated = app.send(name, "revoked"), app.send(name, "terminated")
    end = datetime.now(UTC) + timedelta(seconds=2)
    expired = app.send(name, "expired", expires=end)
    wait_for(lambda: len(app.inspect(worker, "reserved")) == 3, "the messages")
    app.celery.control.revoke(revoked.id, destination=[worker.name], reply=True)
    app.celery.control.revoke(terminated.id, terminate=True, destination=[worker.name], reply=True)
    wait_for(lambda: datetime.now(UTC) > end, "the time it expires at")
    app.open("first")
    app.get(first)
    for result in (revoked, terminated, expired):
        with pytest.raises(TaskRevokedError):
            app.get(result)
    assert app.run("add", 1, 2) == 3
    assert [app.lines(f"{waited}.arrived") for waited in ("revoked", "terminated", "expired")] == [[], [], []]


def test_a_pool_without_slots_is_refused():
    with pytest.raises(ImproperlyConfigured, match="1 task at a time or more, not 0"):
        AsyncioPool(0)
