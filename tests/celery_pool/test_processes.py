"""Tasks that compute, in processes."""

import os
from signal import SIGKILL

import pytest
from celery.exceptions import TaskRevokedError, WorkerLostError


def test_a_task_that_computes_has_a_process_of_its_own(common, gate):
    result = common.send("at_gate_in_process", gate)
    (pid,) = common.await_lines(f"{gate}.arrived")
    assert int(pid) in common.worker.children()
    common.open(gate)
    assert common.get(result) == int(pid)


def test_it_can_be_revoked(common, gate):
    result = common.send("at_gate_in_process", gate)
    common.await_lines(f"{gate}.arrived")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        common.get(result)


def test_coroutines_and_later_tasks_survive_a_killed_process(common, gate):
    coroutine = common.send("at_gate", f"{gate}-coroutine")
    common.await_lines(f"{gate}-coroutine.arrived")
    for number in range(os.cpu_count() + 1):
        result = common.send("at_gate_in_process", f"{gate}-{number}")
        (pid,) = common.await_lines(f"{gate}-{number}.arrived")
        os.kill(int(pid), SIGKILL)
        with pytest.raises(WorkerLostError):
            common.get(result)
    common.open(f"{gate}-coroutine")
    assert common.get(coroutine) == f"{gate}-coroutine"
    common.open(gate)
    assert common.run("at_gate_in_process", gate) in common.worker.children()
