"""Batches in real workers: what is not handed over at once is sent by the relay."""

import pytest
from sqlalchemy import func, select

from holdfast.jobs.batches import HANDED_OVER
from holdfast.jobs.models import Attempt, Job
from waiting import wait_for

JOBS = HANDED_OVER + 700


@pytest.mark.timeout(200)
def test_every_job_of_a_long_batch_is_run_once(start_worker, holdfast, session):
    arguments = [{"a": number, "b": 1} for number in range(JOBS)]
    accepted = holdfast.tasks["add"].enqueue_many(session, arguments)
    session.commit()
    start_worker()

    def completed():
        session.rollback()
        query = select(func.count()).where(Job.batch_id == accepted.batch_id, Job.status == "completed")
        return session.scalar(query)

    wait_for(lambda: completed() == JOBS, "the end of all jobs", seconds=150)
    results = session.scalars(select(Job.result).order_by(Job.id)).all()
    assert results == list(range(1, JOBS + 1))
    assert session.scalar(select(func.count()).select_from(Attempt)) == JOBS
