"""Celery's signals and events, each once, from the task and with its id."""

import threading
from contextlib import contextmanager
from uuid import uuid4

import pytest
from celery.exceptions import TaskRevokedError

from waiting import wait_for


def named(name, *signals):
    return [(signal, f"pool_tasks.{name}") for signal in signals]


@pytest.mark.parametrize(
    ("name", "arguments", "signals"),
    [
        ("add", (1, 2), ("prerun", "success", "postrun")),
        ("add_all", ([1, 2],), ("prerun", "success", "postrun")),
        ("fail", ("ValueError",), ("prerun", "failure", "postrun")),
        ("retry_when_told", (1,), ("prerun", "retry", "postrun", "prerun", "success", "postrun")),
    ],
)
def test_an_execution_sends_each_signal_once(common, name, arguments, signals):
    result = common.send(name, *arguments)
    common.get(result, propagate=False)
    wait_for(lambda: len(common.signals(result.id)) >= len(signals), "its signals")
    # A retry is sent before its own attempt has ended, so the two may overlap.
    assert sorted(common.signals(result.id)) == sorted(named(name, *signals))


def test_a_revoked_one_sends_that_once(common, gate):
    result = common.send("at_gate", gate)
    common.await_lines(f"{gate}.arrived")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        common.get(result)
    wait_for(lambda: len(common.signals(result.id)) >= 3, "its signals")
    assert sorted(common.signals(result.id)) == named("at_gate", "postrun", "prerun", "revoked")


@contextmanager
def captured_events(app):
    events = []
    with app.celery.connection() as connection:
        receiver = app.celery.events.Receiver(connection, handlers={"*": events.append})
        thread = threading.Thread(target=receiver.capture, kwargs={"timeout": 30, "wakeup": False})
        thread.start()
        try:
            yield events
        finally:
            receiver.should_stop = True
            # It looks at that when the next one has come.
            app.run("add", 0, 0)
            thread.join(10)


def test_events_tell_of_each_execution(common):
    good, bad = str(uuid4()), str(uuid4())
    with captured_events(common) as events:
        wait_for(lambda: common.run("add", 1, 1) and events, "the first event")
        common.get(common.send("add", 1, 2, task_id=good))
        common.get(common.send("fail", "ValueError", task_id=bad), propagate=False)

        def told(task_id):
            return [event["type"] for event in events if event.get("uuid") == task_id]

        wait_for(lambda: "task-succeeded" in told(good) and "task-failed" in told(bad), "their events")
    assert told(good) == ["task-received", "task-started", "task-succeeded"]
    assert told(bad) == ["task-received", "task-started", "task-failed"]


def test_handlers_that_wait_hold_up_no_other_task(app):
    app.start_worker().await_ready()
    held = [app.send("hold_tracer", f"{number}") for number in range(6)]  # more than there are threads
    for number in range(6):
        app.await_lines(f"{number}.arrived")
    assert [app.run("add", number, 1) for number in range(8)] == list(range(1, 9))
    for number in range(6):
        app.open(f"{number}")
    assert [app.get(result) for result in held] == [f"{number}" for number in range(6)]
