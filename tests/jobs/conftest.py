"""Jobs of functions that a test writes, run one attempt at a time in this process."""

import pytest
from sqlalchemy import select

from factories import job_row
from holdfast.jobs.models import Step
from holdfast.testing import run_job


@pytest.fixture
def submit(holdfast, session):
    """Register a function, retried at once, and queue a job of it; returns the job's id."""

    def submit(function, *, options=None, **arguments):
        task = holdfast.task(**{"retry_delay": 0, "retries": 5} | (options or {}))(function)
        job_id = task.enqueue(session, **arguments).job_id
        session.commit()
        return job_id

    return submit


@pytest.fixture
def attempt(holdfast, session):
    """Run one attempt of a job; returns the row afterwards."""

    def attempt(job_id):
        run_job(holdfast, job_id)
        return job_row(session, job_id)

    return attempt


@pytest.fixture
def saved(session):
    """The saved results of a job by name and key."""

    def saved(job_id):
        session.rollback()
        steps = session.scalars(select(Step).where(Step.job_id == job_id))
        return {(step.name, step.key): step.result for step in steps}

    return saved
