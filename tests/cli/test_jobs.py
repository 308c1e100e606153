"""`holdfast jobs` and `holdfast batches` against a running API."""

import json
import subprocess
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from commands import HOLDFAST, is_ready
from factories import ERROR, claim_job, job_row, make_owner
from holdfast import JobContext
from holdfast.jobs import store
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import Job
from waiting import wait_for

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def api(environment, port, settings, session, folder):
    """The API on the test's database, and the environment that leads there."""
    environment |= {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "HOLDFAST_KEY_PREFIX": settings.key_prefix,
        "HOLDFAST_URL": f"http://127.0.0.1:{port}",
    }
    owner, environment["HOLDFAST_API_KEY"] = make_owner(session)
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [HOLDFAST, "api", "--port", str(port)], cwd=folder, env=environment, stdout=log, stderr=log
        )
    wait_for(lambda: is_ready(port), "the API", seconds=120)
    yield owner
    process.terminate()
    process.wait(60)


@pytest.fixture
def make(api, session, holdfast):
    """Make jobs of a task that the API knows and that end so; returns their ids."""

    @holdfast.task(name="index_vectors")
    def index(job: JobContext) -> None: ...

    def make(count=1, *, code="timeout", status="failed"):
        made = [index.enqueue(session, owner=api).job_id for _ in range(count)]
        session.commit()
        for job_id in made:
            if status == "failed":
                error = ERROR | {"code": code}
                store.fail(session, claim_job(session, job_id), error, None, traceback="Traceback: deep")
        session.commit()
        return made

    return make


def retries_of(session, job_ids):
    session.rollback()
    return session.scalar(select(func.count()).where(Job.retry_of.in_(job_ids)))


def test_jobs_are_retried_by_task_error_and_time(run, make, session):
    recent, old, other = make(3), make(1), make(1, code="no_text")
    session.execute(
        update(Job).where(Job.id.in_(old)).values(completed_at=Job.completed_at - timedelta(days=1))
    )
    session.commit()
    alike = ("jobs", "retry", "--task", "index_vectors", "--error", "timeout", "--since", "1h")

    counted = run(*alike, "--dry-run")
    assert counted.returncode == 0, counted.stderr
    assert "3 × index_vectors timeout" in counted.stdout
    assert retries_of(session, recent) == 0

    unanswered = run(*alike)
    assert unanswered.returncode == 1
    assert "Retry 3 jobs?" in unanswered.stdout
    assert retries_of(session, recent) == 0

    assert "2 retried, 0 not." in run(*alike, "--limit", "2", "--yes").stdout
    assert "1 retried, 0 not." in run(*alike, "--yes").stdout
    assert "No failed job is like that" in run(*alike, "--yes").stdout
    assert retries_of(session, recent) == 3
    assert retries_of(session, old + other) == 0


def test_named_jobs_are_retried_and_those_that_cannot_be_are_told(run, make, session):
    (dead,), (queued,) = make(1), make(1, status="queued")
    done = run("jobs", "retry", str(dead), str(queued), "--steps", "drop")
    assert done.returncode == 1
    assert f"{queued} not_retryable" in done.stdout
    assert "1 retried, 1 not." in done.stdout
    assert retries_of(session, [dead]) == 1


@pytest.mark.parametrize("options", [[], [str(new_id()), "--task", "paint"], ["--since", "yesterday"]])
def test_retry_of_nothing_in_particular_is_refused(run, environment, options):
    environment["HOLDFAST_API_KEY"] = "hf_00000000_x"
    assert run("jobs", "retry", *options).returncode == 2


def test_job_is_shown_with_its_attempts_and_to_its_operator_whole(run, make, session):
    (dead,) = make(1)
    shown = json.loads(run("jobs", "show", str(dead)).stdout)
    assert shown["error"]["code"] == "timeout"
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["failed"]

    whole = run("jobs", "show", str(dead), "--whole").stdout
    assert '"args": {}' in whole
    assert "Traceback: deep" in whole
    assert "job_not_found" in run("jobs", "show", str(new_id()), "--whole").stderr


def test_jobs_are_cancelled_by_their_ids(run, make, session):
    waiting = make(2, status="queued")
    done = run("jobs", "cancel", *map(str, waiting))
    assert done.returncode == 0, done.stderr
    assert {job_row(session, job_id)["status"] for job_id in waiting} == {"cancelled"}


def test_batch_is_shown_listed_and_cancelled(run, api, holdfast, session):
    @holdfast.task(name="index_vectors")
    def index(job: JobContext) -> None: ...

    batch = index.enqueue_many(session, [{}, {}], owner=api)
    session.commit()
    shown = json.loads(run("batches", "show", str(batch.batch_id)).stdout)
    assert shown["counts"]["queued"] == 2
    listed = json.loads(run("jobs", "list", "--batch", str(batch.batch_id), "--json").stdout)
    assert len(listed["data"]) == 2
    cancelled = json.loads(run("batches", "cancel", str(batch.batch_id)).stdout)
    assert cancelled["counts"]["cancelled"] == 2
