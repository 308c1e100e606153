"""Coroutines on the event loop, and what Celery is inside them."""

import pytest
from celery import group
from celery.exceptions import TimeLimitExceeded

CONCURRENCY = 20


def run_all(app, name, *args, times):
    return app.get(group(app.signature(name, *args) for _ in range(times)).apply_async())


def test_as_many_coroutines_run_at_once_as_the_concurrency_says(app):
    app.start_worker(concurrency=200).await_ready()
    assert max(run_all(app, "meet", "all", 200, times=200)) == 200


def test_a_burst_never_brings_more_in_flight_than_the_concurrency(common, gate):
    assert max(run_all(common, "meet", gate, 10, times=300)) <= CONCURRENCY


def test_each_of_many_coroutines_is_itself_before_and_after_it_waits(common, gate):
    results = [common.send("who", gate, CONCURRENCY) for _ in range(CONCURRENCY)]
    for result in results:
        told = common.get(result)
        assert told["before"] == told["after"] == [result.id, result.id]


def test_a_child_task_of_asyncio_has_no_current_task(common, gate):
    assert common.run("who", gate, 1)["child"] == [None, None]


def test_context_variables_of_a_signal_handler_reach_the_coroutine_and_its_children(common):
    result = common.send("traced")
    assert common.get(result) == [result.id, result.id]


def test_plain_functions_run_beside_them(common, gate):
    results = [common.send("at_gate_in_thread", f"{gate}-{n}") for n in range(5)]
    for number in range(5):
        common.await_lines(f"{gate}-{number}.arrived")
    assert common.run("add", 1, 2) == 3
    for number in range(5):
        common.open(f"{gate}-{number}")
    assert [common.get(result) for result in results] == [f"{gate}-{number}" for number in range(5)]


def test_an_async_function_behind_a_plain_decorator_is_awaited(common):
    assert common.run("decorated") == "awaited"


def test_arguments_may_be_models_of_pydantic(common):
    assert common.run("move", {"x": 1}) == {"x": 2}


@pytest.mark.parametrize("name", ["catch_soft_limit", "catch_soft_limit_in_thread"])
def test_a_soft_limit_is_raised_where_the_task_is_and_can_be_caught(common, name):
    assert common.run(name) == "caught"


def test_a_soft_limit_ends_what_the_coroutine_waits_for(common, gate):
    with pytest.raises(Exception, match="SoftTimeLimitExceeded"):
        common.run("overstay", gate)
    common.await_lines(f"{gate}.ended")


def test_a_hard_limit_ends_the_result_of_a_coroutine_that_swallows_its_cancellation(common):
    result = common.send("ignore_everything")
    with pytest.raises(TimeLimitExceeded):
        common.get(result)
    assert common.run("add", 1, 2) == 3


def test_a_hard_limit_ends_the_result_of_a_function_that_goes_on(common, gate):
    result = common.send("outlast_in_thread", gate)
    with pytest.raises(TimeLimitExceeded):
        common.get(result)
    common.await_lines(f"{gate}.interrupted")
    common.open(gate)
    common.await_lines(f"{gate}.done")
    assert common.run("add_all", [1, 2]) == 3  # its thread has had the time to store something else
    assert result.state == "FAILURE"
    assert isinstance(result.result, TimeLimitExceeded)


def test_limits_of_a_call_come_before_those_of_the_worker(app):
    app.start_worker("--soft-time-limit=30", "--time-limit=1").await_ready()
    with pytest.raises(TimeLimitExceeded, match=r"\(1.*\)"):
        app.run("wait_long")
    with pytest.raises(TimeLimitExceeded, match=r"0\.2"):
        app.run("wait_long", time_limit=0.2)
