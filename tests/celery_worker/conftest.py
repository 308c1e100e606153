"""Tasks, jobs and gates for tests with real workers."""

import pytest
from sqlalchemy import text

import worker_tasks
from factories import job_row
from waiting import wait_for


class Gate:
    """Where jobs of `work_at` arrive and wait until it is opened."""

    def __init__(self, path):
        self.path = path

    def open(self):
        self.path.touch()

    def await_arrival(self, attempt=1):
        """Wait until that attempt is there; returns the pid of its process."""
        mark = self.path.with_name(f"{self.path.name}.{attempt}")
        wait_for(mark.exists, f"attempt {attempt} at the gate")
        return int(mark.read_text())


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate")


@pytest.fixture
def make_gate(tmp_path):
    return lambda name: Gate(tmp_path / name)


@pytest.fixture
def holdfast(holdfast):
    """The application that the workers run as well."""
    worker_tasks.register(holdfast)
    return holdfast


@pytest.fixture
def session(session):
    session.execute(text("CREATE TABLE public.effects (job_id uuid, attempt int)"))
    session.commit()
    return session


@pytest.fixture
def enqueue(holdfast, session):
    """Queue a job of one of `worker_tasks`; returns its id."""

    def enqueue(name, **arguments):
        job_id = holdfast.tasks[name].enqueue(session, **arguments).job_id
        session.commit()
        return job_id

    return enqueue


@pytest.fixture
def await_status(session):
    """Wait until a job has a status; returns its row."""

    def await_status(job_id, status, seconds=30):
        def row():
            found = job_row(session, job_id)
            return found if found["status"] == status else None

        return wait_for(row, f"{status} of job {job_id}", seconds)

    return await_status


@pytest.fixture
def effects(session):
    """The attempts that left an effect of a job."""

    def effects(job_id):
        session.rollback()
        query = text("SELECT attempt FROM public.effects WHERE job_id = :job ORDER BY 1")
        return list(session.execute(query, {"job": job_id}).scalars())

    return effects
