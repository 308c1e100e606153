"""Retrying dead jobs: a new job for a failed or cancelled one, with its steps or without."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select

from factories import ERROR, claim_job, job_row
from holdfast.errors import NotRetryable
from holdfast.jobs import retrying, store
from holdfast.jobs.context import JobContext
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import Job
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def task(holdfast):
    @holdfast.task(retries=2, queue="walls")
    def paint(job: JobContext, wall: int) -> int:
        return wall

    return paint


@pytest.fixture
def make(session, owner, task):
    """Make a job of the client's that stands so; returns its id."""

    def make(status, **options):
        job_id = task.enqueue(session, owner=owner, wall=3, **options).job_id
        session.commit()
        return end(session, job_id, status)

    return make


def end(session, job_id, status):
    if status == "cancelled":
        store.cancel(session, job_id)
    elif status != "queued":
        claim = claim_job(session, job_id)
        if status == "failed":
            store.fail(session, claim, ERROR, None, traceback="Traceback: private")
        if status == "completed":
            store.complete(session, claim, 1, None)
    session.commit()
    return job_id


def count_jobs(session):
    session.rollback()
    return session.scalar(select(func.count()).select_from(Job))


async def retry(client, job_id, *, key=None, **params):
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post(f"/v1/jobs/{job_id}/retry", params=params, headers=headers)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_dead_job_is_asked_for_again_and_stays_as_it_is(client, session, make, status):
    dead = make(status, priority=1, metadata={"house": 7})
    before = job_row(session, dead)
    response = await retry(client, dead)

    assert response.status_code == 202, response.text
    new = response.json()["job_id"]
    assert response.headers["Location"] == f"/v1/jobs/{new}"
    row = job_row(session, new)
    for same in ("task", "args", "queue", "priority", "owner_id", "metadata_", "max_attempts"):
        assert row[same] == before[same]
    assert (row["status"], row["attempt"], row["failures"], row["error"]) == ("queued", 0, 0, None)
    assert (row["retry_of"], row["origin_id"]) == (dead, dead)
    assert job_row(session, dead) == before


async def test_old_and_new_job_name_each_other(client, make):
    dead = make("failed")
    new = (await retry(client, dead)).json()["job_id"]
    assert (await client.get(f"/v1/jobs/{new}")).json()["retry_of"] == str(dead)
    assert (await client.get(f"/v1/jobs/{dead}")).json()["retries"] == [new]
    listed = (await client.get("/v1/jobs", params={"was_retried": "true"})).json()["data"]
    assert [(job["id"], job["retries"]) for job in listed] == [(str(dead), [new])]


async def test_dropped_steps_are_not_continued(client, session, make):
    new = (await retry(client, make("failed"), steps="drop")).json()["job_id"]
    assert job_row(session, new)["origin_id"] is None


async def test_retry_of_a_retry_continues_the_same_steps(client, session, make):
    first = make("failed")
    second = (await retry(client, first)).json()["job_id"]
    end(session, second, "failed")
    third = (await retry(client, second)).json()["job_id"]
    row = job_row(session, third)
    assert (str(row["retry_of"]), row["origin_id"]) == (second, first)


async def test_retry_continues_with_itself_when_its_origin_was_deleted(client, session, make):
    first = make("failed")
    second = (await retry(client, first)).json()["job_id"]
    end(session, second, "failed")
    session.execute(delete(Job).where(Job.id == first))
    session.commit()
    third = (await retry(client, second)).json()["job_id"]
    assert str(job_row(session, third)["origin_id"]) == second


async def test_two_jobs_do_not_continue_the_same_steps_at_once(client, session, make):
    first = make("failed")
    second = (await retry(client, first)).json()["job_id"]
    body = assert_problem(await retry(client, first), 409, "not_retryable")
    assert second in body["detail"]
    assert (await retry(client, first, steps="drop")).status_code == 202
    end(session, second, "failed")
    third = (await retry(client, second)).json()["job_id"]
    assert third in assert_problem(await retry(client, first), 409, "not_retryable")["detail"]


@pytest.mark.parametrize("status", ["queued", "processing", "completed"])
async def test_job_that_is_not_dead_is_not_retried(client, session, make, status):
    response = await retry(client, make(status))
    body = assert_problem(response, 409, "not_retryable")
    assert f"The job is {status}" in body["detail"]
    assert count_jobs(session) == 1


async def test_limits_in_time_count_anew(client, session, make):
    dead = make("failed")
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    created = session.get(Job, dead).created_at - timedelta(days=3)
    values = {"created_at": created, "deadline": created + hour, "start_by": created + minute}
    for name, value in (values | {"timeout": minute}).items():
        setattr(session.get(Job, dead), name, value)
    session.commit()
    row = job_row(session, (await retry(client, dead)).json()["job_id"])
    assert (row["deadline"] - row["created_at"], row["start_by"] - row["created_at"]) == (hour, minute)
    assert row["timeout"] == minute


async def test_retry_belongs_to_no_batch(client, session, owner, task):
    accepted = task.enqueue_many(session, [{"wall": 1}, {"wall": 2}], owner=owner)
    session.commit()
    end(session, accepted.job_ids[0], "failed")
    new = (await retry(client, accepted.job_ids[0])).json()["job_id"]
    assert job_row(session, new)["batch_id"] is None


async def test_same_key_retries_once(client, session, make):
    dead = make("failed")
    first, again = await retry(client, dead, key="k"), await retry(client, dead, key="k")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json() | {"created": False}
    end(session, first.json()["job_id"], "failed")
    assert (await retry(client, dead, key="k")).json()["status"] == "failed"


async def test_key_of_another_request_is_refused(client, session, make, task, owner):
    dead, other = make("failed"), make("failed")
    await retry(client, dead, key="k")
    assert_problem(await retry(client, dead, key="k", steps="drop"), 422, "idempotency_conflict")
    assert_problem(await retry(client, other, key="k"), 422, "idempotency_conflict")


@pytest.mark.parametrize("steps", ["keep", "drop"])
async def test_many_concurrent_retries_with_one_key_make_one_job(client, session, make, steps):
    dead = make("failed")
    responses = await asyncio.gather(*(retry(client, dead, key="k", steps=steps) for _ in range(50)))
    assert sorted(response.status_code for response in responses) == [200] * 49 + [202]
    assert count_jobs(session) == 2


async def test_of_concurrent_retries_without_a_key_one_continues(client, session, make):
    dead = make("failed")
    responses = await asyncio.gather(*(retry(client, dead) for _ in range(20)))
    assert sorted(response.status_code for response in responses) == [202] + [409] * 19
    assert count_jobs(session) == 2


async def test_arguments_that_do_not_fit_any_more_are_told(client, session, make):
    dead = make("failed")
    session.get(Job, dead).args = {"window": 3}
    session.commit()
    assert_problem(await retry(client, dead), 422, "invalid_arguments")
    assert count_jobs(session) == 1


async def test_job_of_a_task_that_is_gone_is_not_retried(client, session, make):
    dead = make("failed")
    session.get(Job, dead).task = "varnish"
    session.commit()
    assert_problem(await retry(client, dead), 404, "unknown_task")


async def test_job_of_another_key_is_forbidden_and_an_unknown_one_not_found(client, stranger, make, session):
    assert_problem(await retry(stranger, make("failed")), 403, "forbidden")
    assert_problem(await retry(client, new_id()), 404, "job_not_found")
    assert count_jobs(session) == 1


async def test_steps_are_kept_or_dropped_and_nothing_else(client, make):
    assert_problem(await retry(client, make("failed"), steps="maybe"), 422, "invalid_request")


async def test_job_that_was_deleted_meanwhile_is_not_retried(session, make, task):
    job_id = make("failed")
    dead = session.get(Job, job_id)
    session.expunge(dead)
    session.execute(delete(Job).where(Job.id == job_id))
    session.commit()
    with pytest.raises(NotRetryable, match="deleted"):
        retrying.retry(session, task, dead, retrying.RetryRequest(job_id))
    assert count_jobs(session) == 0
