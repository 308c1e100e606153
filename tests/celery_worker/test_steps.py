"""Steps and children in real workers: what was paid for is not paid twice, and nobody waits for ever."""

import os
import signal

import pytest
from sqlalchemy import func, select

import stepping_tasks
from factories import attempt_outcomes
from holdfast.jobs.models import Job
from waiting import wait_for


@pytest.fixture
def holdfast(holdfast):
    stepping_tasks.register(holdfast)
    return holdfast


@pytest.mark.parametrize("victim", ["child", "worker"])
def test_paid_steps_are_not_repeated_when_the_worker_is_killed_between_two(
    start_worker, enqueue, await_status, session, gate, effects, victim
):
    worker = start_worker(app="stepping_tasks")
    job_id = enqueue("buy", gate=gate.path)
    child = gate.await_arrival()
    assert effects(job_id) == [1, 1]
    if victim == "child":
        os.kill(child, signal.SIGKILL)
    else:
        worker.kill()
        start_worker(app="stepping_tasks")

    gate.await_arrival(attempt=2)
    gate.open()
    row = await_status(job_id, "completed")
    assert row["result"] == ["first in attempt 1", "second in attempt 1", "third in attempt 2"]
    assert effects(job_id) == [1, 1, 2]
    assert attempt_outcomes(session, job_id) == ["lost", "completed"]


@pytest.mark.timeout(200)
def test_many_parents_and_children_share_two_processes(start_worker, holdfast, session):
    """Were a waiting parent to hold its slot, two of them would stop all."""
    parents, children = 200, 5
    whole = holdfast.tasks["whole"]
    accepted = whole.enqueue_many(session, [{"numbers": list(range(children))}] * parents)
    session.commit()
    start_worker(app="stepping_tasks", concurrency=2)

    def completed():
        session.rollback()
        query = select(func.count()).where(Job.batch_id == accepted.batch_id, Job.status == "completed")
        return session.execute(query).scalar_one()

    wait_for(lambda: completed() == parents, "the end of all parents", seconds=150)
    session.rollback()
    counted = session.execute(select(Job.task, Job.status, func.count()).group_by(Job.task, Job.status))
    assert sorted(counted) == [("quarter", "completed", parents * children), ("whole", "completed", parents)]
    results = session.scalars(select(Job.result).where(Job.task == "whole").distinct()).all()
    assert results == [sum(range(children))]
    failures = session.scalars(select(func.sum(Job.failures) + func.sum(Job.crashes))).one()
    assert failures == 0
