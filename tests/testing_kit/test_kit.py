"""The testing kit, used as an application's own tests would."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

import worker_tasks
from factories import attempt_outcomes
from holdfast import Holdfast, Retry
from holdfast.errors import UnknownTask
from holdfast.jobs.ids import new_id
from holdfast.testing import pointed_at, run_job, wait_for

AN_HOUR = timedelta(hours=1)
TESTS = Path(__file__).parents[1]


def double(job, number: int) -> int:
    return 2 * number


async def double_async(job, number: int) -> int:
    return 2 * number


def come_back(job) -> int:
    if job.attempt == 1:
        raise Retry(after=AN_HOUR)
    return job.attempt


@pytest.fixture
def application(holdfast_settings):
    """A Holdfast that a module has made, with settings of its own that lead nowhere."""
    made = Holdfast(
        holdfast_settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/none"})
    )
    for function in (double, double_async, come_back):
        made.task(function)
    return made


@pytest.fixture
def app(application, holdfast_settings):
    with pointed_at(application, holdfast_settings) as pointed:
        yield pointed


@pytest.fixture
def enqueue(app):
    def enqueue(name, **arguments):
        with app.database.transaction() as session:
            return app.tasks[name].enqueue(session, **arguments).job_id

    return enqueue


@pytest.mark.parametrize("name", ["double", "double_async"])
def test_job_is_run_in_process(app, enqueue, name):
    job = run_job(app, enqueue(name, number=21))
    assert (job.status, job.result, job.attempt) == ("completed", 42, 1)


def test_job_that_is_retried_runs_again_when_its_time_has_come(
    app, enqueue, holdfast_clock, holdfast_session
):
    job_id = enqueue("come_back")
    assert run_job(app, job_id).status == "queued"
    holdfast_clock.advance(AN_HOUR - timedelta(minutes=1))
    assert run_job(app, job_id).attempt == 1

    holdfast_clock.advance(timedelta(minutes=1))
    assert run_job(app, job_id).result == 2
    assert attempt_outcomes(holdfast_session, job_id) == ["retried", "completed"]


def test_job_that_does_not_exist_cannot_be_run(app):
    with pytest.raises(UnknownTask, match="no job"):
        run_job(app, new_id())


def test_application_gets_its_own_settings_back(application, holdfast_settings):
    before = application.settings
    with pointed_at(application, holdfast_settings):
        assert application.urls.database_url == holdfast_settings.database_url
    assert application.settings is before
    assert application.urls.database_url == before.database_url


def test_databases_of_two_tests_have_nothing_in_common(holdfast_session):
    assert holdfast_session.execute(text("SELECT count(*) FROM holdfast.jobs")).scalar_one() == 0


def test_worker_runs_jobs_and_ends_with_the_test(holdfast_worker, holdfast_settings, holdfast_session):
    application = Holdfast(holdfast_settings)
    worker_tasks.register(application)
    worker = holdfast_worker("worker_tasks:holdfast", PYTHONPATH=str(TESTS))
    with application.database.transaction() as session:
        job_id = application.tasks["add"].enqueue(session, a=1, b=2).job_id

    def result():
        holdfast_session.rollback()
        query = text("SELECT result FROM holdfast.jobs WHERE id = :id")
        return holdfast_session.execute(query, {"id": job_id}).scalar_one()

    assert wait_for(result, "the job's result") == 3
    assert worker.children()
    application.database.close()


def test_waiting_ends_at_its_deadline():
    with pytest.raises(AssertionError, match="the moon did not come true"):
        wait_for(lambda: None, "the moon", seconds=0.05)
