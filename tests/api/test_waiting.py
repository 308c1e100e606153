"""Requests that are answered when a job has ended."""

import asyncio

import pytest
from sqlalchemy import select

from factories import ERROR, claim_job, make_job, queue_job, start_job
from holdfast.api.waiting import preferred_wait
from holdfast.jobs import events, store
from holdfast.jobs.context import JobContext
from holdfast.jobs.models import Job
from holdfast.states import JobStatus
from problem_checks import assert_problem
from waiting import wait_for

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def tasks(holdfast):
    @holdfast.task(exposed=True)
    def paint(job: JobContext, wall: int) -> int:
        return wall


async def until_watched(hub):
    await asyncio.to_thread(wait_for, lambda: hub.opened.total, "a wait")


async def test_a_wait_ends_with_the_job(client, session, owner, holdfast, hub):
    claim = start_job(session, owner_id=owner.id)
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{claim.id}?wait=60"))
    await until_watched(hub)
    store.fail(session, claim, ERROR, None)
    session.commit()
    holdfast.events.tell(claim, events.FAILED)
    async with asyncio.timeout(5):
        response = await waiting
    assert (response.status_code, response.json()["status"]) == (200, "failed")
    assert hub.opened.total == hub.watched_jobs == 0


async def test_an_end_that_nobody_told_of_is_found(client, session, owner, hub):
    claim = start_job(session, owner_id=owner.id)
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{claim.id}?wait=60"))
    await until_watched(hub)
    store.complete(session, claim, {"answer": 42}, None)
    session.commit()
    async with asyncio.timeout(10):
        assert (await waiting).json()["result"] == {"answer": 42}


async def test_a_wait_that_is_over_shows_the_job_as_it_is(client, session, owner, hub):
    job_id = queue_job(session, owner_id=owner.id)
    response = await client.get(f"/v1/jobs/{job_id}?wait=1")
    assert response.json()["status"] == "queued"
    assert hub.watched_jobs == 0


async def test_a_job_that_has_ended_is_not_waited_for(client, session, owner, hub):
    claim = make_job(session, JobStatus.COMPLETED, owner_id=owner.id)
    async with asyncio.timeout(5):
        assert (await client.get(f"/v1/jobs/{claim.id}?wait=60")).json()["status"] == "completed"


async def test_a_submit_waits_for_its_job(client, session, holdfast, hub):
    asked = {"task": "paint", "args": {"wall": 3}}
    waiting = asyncio.create_task(client.post("/v1/jobs", json=asked, headers={"Prefer": "wait=60"}))
    await until_watched(hub)
    job_id = next(iter(hub._watched))
    claim = claim_job(session, job_id)
    store.complete(session, claim, 3, None)
    session.commit()
    holdfast.events.tell(claim, events.COMPLETED)
    async with asyncio.timeout(5):
        response = await waiting
    assert (response.status_code, response.headers["Preference-Applied"]) == (200, "wait=60")
    body = response.json()
    assert (body["job_id"], body["status"], body["created"]) == (str(job_id), "completed", True)
    assert body["job"]["result"] == 3


async def test_a_submit_that_waited_in_vain_is_accepted(client, hub):
    asked = {"task": "paint", "args": {"wall": 3}}
    response = await client.post("/v1/jobs", json=asked, headers={"Prefer": "wait=1"})
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    assert "Preference-Applied" not in response.headers


@pytest.fixture
def end(session, holdfast):
    """Complete a queued job, as a worker does."""

    def end(job_id, result=3):
        claim = claim_job(session, job_id)
        store.complete(session, claim, result, None)
        session.commit()
        holdfast.events.tell(claim, events.COMPLETED)

    return end


async def test_an_upload_waits_for_its_job(client, hub, end):
    sent = {"files": {"file": ("kelp.txt", b"Kelp grows fast.")}, "headers": {"Prefer": "wait=60"}}
    waiting = asyncio.create_task(client.post("/v1/documents/ingest", **sent))
    await until_watched(hub)
    job_id = next(iter(hub._watched))
    end(job_id, {"chunks": 1})
    async with asyncio.timeout(5):
        response = await waiting
    assert (response.status_code, response.headers["Preference-Applied"]) == (200, "wait=60")
    body = response.json()
    assert (body["job_id"], body["status"], body["created"]) == (str(job_id), "completed", True)
    assert body["job"]["result"] == {"chunks": 1}
    assert body["urls"]["document"] == f"/v1/documents/{body['document_id']}"
    assert response.headers["Location"] == body["urls"]["job"]


async def test_a_retry_waits_for_its_job(client, session, holdfast, owner, hub, end):
    dead = make_job(session, JobStatus.FAILED, owner_id=owner.id, task="paint", args={"wall": 3})
    asked = client.post(f"/v1/jobs/{dead.id}/retry", headers={"Prefer": "wait=60"})
    waiting = asyncio.create_task(asked)
    await until_watched(hub)
    job_id = next(iter(hub._watched))
    end(job_id)
    async with asyncio.timeout(5):
        response = await waiting
    assert (response.status_code, response.headers["Preference-Applied"]) == (200, "wait=60")
    body = response.json()
    assert (body["job"]["id"], body["job"]["retry_of"]) == (str(job_id), str(dead.id))


async def test_a_batch_waits_for_all_its_jobs(client, session, hub, end, monkeypatch):
    monkeypatch.setattr("holdfast.api.waiting._TOGETHER", 2)
    asked = {"task": "paint", "jobs": [{"args": {"wall": wall}} for wall in range(5)]}
    waiting = asyncio.create_task(client.post("/v1/batches", json=asked, headers={"Prefer": "wait=60"}))
    await until_watched(hub)
    job_ids = list(session.scalars(select(Job.id).order_by(Job.id)))
    for job_id in (job_ids[4], job_ids[0], job_ids[3], job_ids[2]):
        end(job_id)
    await asyncio.to_thread(wait_for, lambda: set(hub._watched) == {job_ids[1]}, "the last job's wait")
    assert not waiting.done()
    end(job_ids[1])
    async with asyncio.timeout(5):
        response = await waiting
    assert (response.status_code, response.headers["Preference-Applied"]) == (200, "wait=60")
    body = response.json()
    assert body["job_ids"] == [str(job_id) for job_id in job_ids]
    assert (body["batch"]["counts"]["completed"], body["batch"]["counts"]["total"]) == (5, 5)
    assert response.headers["Location"] == body["urls"]["batch"]
    assert hub.opened.total == hub.watched_jobs == 0


async def test_what_was_asked_for_before_and_has_ended_is_shown_at_once(client, session, end):
    asked = {"task": "paint", "jobs": [{"args": {"wall": 3}}]}
    headers = {"Prefer": "wait=60", "Idempotency-Key": "walls"}
    first = await client.post("/v1/batches", json=asked, headers=headers | {"Prefer": "wait=0"})
    assert first.status_code == 202
    end(session.scalars(select(Job.id)).one())
    async with asyncio.timeout(5):
        body = (await client.post("/v1/batches", json=asked, headers=headers)).json()
    assert (body["created"], body["batch"]["counts"]["completed"]) == (False, 1)


BATCH = {"json": {"task": "paint", "jobs": [{"args": {"wall": 3}}]}}
UPLOAD = {"files": {"file": ("kelp.txt", b"Kelp grows fast.")}}


@pytest.mark.parametrize(("path", "sent"), [("/v1/batches", BATCH), ("/v1/documents/ingest", UPLOAD)])
async def test_other_work_that_was_waited_for_in_vain_is_accepted_too(client, hub, path, sent):
    response = await client.post(path, headers={"Prefer": "wait=1"}, **sent)
    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers
    hub.opened.most = 0
    async with asyncio.timeout(10):
        assert (await client.post(path, headers={"Prefer": "wait=60"}, **sent)).status_code == 202


async def test_the_end_of_the_server_answers_who_waits_for_a_batch(client, hub):
    waiting = asyncio.create_task(client.post("/v1/batches", headers={"Prefer": "wait=60"}, **BATCH))
    await until_watched(hub)
    hub.close()
    async with asyncio.timeout(5):
        assert (await waiting).status_code == 202


async def test_waits_count_as_streams(client, session, owner, hub):
    hub.opened.most = 0
    job_id = queue_job(session, owner_id=owner.id)
    assert_problem(await client.get(f"/v1/jobs/{job_id}?wait=1"), 429, "too_many_streams")
    asked = {"task": "paint", "args": {"wall": 3}}
    response = await client.post("/v1/jobs", json=asked, headers={"Prefer": "wait=60"})
    assert response.status_code == 202


async def test_a_client_that_leaves_ends_its_wait(watch_raw, session, owner, hub):
    job_id = queue_job(session, owner_id=owner.id)
    request = watch_raw(f"/v1/jobs/{job_id}?wait=60")
    await until_watched(hub)
    async with asyncio.timeout(5):
        await request.leave()
    assert hub.opened.total == hub.watched_jobs == 0


async def test_the_end_of_the_server_ends_waits(client, session, owner, hub):
    job_id = queue_job(session, owner_id=owner.id)
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{job_id}?wait=60"))
    await until_watched(hub)
    hub.close()
    async with asyncio.timeout(5):
        assert (await waiting).json()["status"] == "queued"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("respond-async", 0),
        ("wait=5", 5),
        ("respond-async, Wait = 7", 7),
        ('wait="3"; x=1', 3),
        ("wait=600", 60),
        ("wait=soon", 0),
        ("wait=-1", 0),
        ("await=3", 0),
    ],
)
def test_a_preference_for_waiting_is_understood(prefer, seconds):
    assert preferred_wait(prefer) == seconds
