"""What Celery's tracer does after a task, and around it."""

import pytest
from celery import chain, chord, group

from waiting import wait_for


def test_chains_groups_and_chords_go_on(common):
    add, add_all = (lambda *args: common.signature("add", *args)), common.signature("add_all")
    assert common.get(chain(add(1, 1), add(2), add(3)).apply_async()) == 7
    assert common.get(group(add(n, n) for n in range(5)).apply_async()) == [0, 2, 4, 6, 8]
    assert common.get(chord([add(n, n) for n in range(20)], add_all).apply_async()) == 380


def test_a_failed_chord_fails_its_body(common):
    body = common.signature("add_all")
    header = [common.signature("fail", "ValueError"), common.signature("add", 1, 1)]
    with pytest.raises(Exception, match="ValueError"):
        common.get(chord(header, body).apply_async())


def test_links_are_called(common, gate):
    common.send("add", 1, 2, link=common.signature("without_result", gate).set(immutable=True))
    common.await_lines(f"{gate}.done")


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("fail", ("ValueError",), "ValueError"),
        ("fail_in_thread", ("SystemExit",), "WorkerLostError"),
        ("add_all", (1,), "TypeError"),
        ("ignore_everything", (), "TimeLimitExceeded"),
    ],
)
def test_async_errbacks_are_called(common, name, arguments, error):
    result = common.send(name, *arguments, link_error=common.signature("hear_of"))
    assert common.await_lines(f"{result.id}.errback") == [error]


def test_an_async_task_can_be_mapped(common):
    mapped = common.celery.signature("celery.map", args=(common.signature("double"), [1, 2, 3]))
    name = "pool_tasks.double"
    assert common.get(mapped.apply_async()) == [[name, name, 2], [name, name, 4], [name, name, 6]]


def test_a_task_can_be_replaced(common):
    assert common.run("replace", 5) == 15


def test_retries_by_itself_and_when_told(common):
    assert common.run("retry_by_itself") == 2
    assert common.run("retry_when_told", 2) == 2
    with pytest.raises(ValueError, match="never"):
        common.run("retry_when_told", 3)


def test_a_result_may_be_ignored(common, gate):
    result = common.send("without_result", gate)
    common.await_lines(f"{gate}.done")
    wait_for(lambda: common.inspect(common.worker, "active") == [], "its end")
    assert result.state == "PENDING"


def test_a_task_may_have_another_state(common):
    result = common.send("ignore")
    wait_for(lambda: result.state == "ELSEWHERE", "the state it has set")


def test_a_rejected_message_comes_again(common, gate):
    assert common.run("reject", gate) == "again"
    assert common.lines(f"{gate}.tries") == ["try", "try"]


def test_progress_can_be_told(common, gate):
    result = common.send("show_progress", gate)
    wait_for(lambda: result.state == "PROGRESS", "its progress")
    assert result.info == {"done": 1}
    common.open(gate)
    common.get(result)
