from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from factories import PROCESS, claim_job, make_job, queue_job, start_job
from holdfast.jobs import leases, store
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import Job
from holdfast.live import ProgressWriter
from holdfast.states import JobStatus
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio


async def test_an_unknown_job_is_not_found(client):
    assert_problem(await client.get(f"/v1/jobs/{new_id()}"), 404, "job_not_found")


@pytest.mark.parametrize("suffix", ["", "/attempts", "/cancel"])
async def test_another_keys_job_is_forbidden_and_tells_nothing(stranger, session, owner, suffix):
    job_id = queue_job(session, owner_id=owner.id, task="secret_task")
    method = "POST" if suffix == "/cancel" else "GET"
    response = await stranger.request(method, f"/v1/jobs/{job_id}{suffix}")
    assert_problem(response, 403, "forbidden")
    assert "secret_task" not in response.text
    assert str(job_id) not in response.text
    session.rollback()
    assert session.get(Job, job_id).status == JobStatus.QUEUED


async def test_a_job_of_nobody_is_forbidden(client, session):
    assert_problem(await client.get(f"/v1/jobs/{queue_job(session)}"), 403, "forbidden")


async def test_a_queued_job_is_shown_without_its_arguments(client, session, owner):
    job_id = queue_job(session, owner_id=owner.id, args={"password": "kelp"}, metadata={"ticket": 7})
    response = await client.get(f"/v1/jobs/{job_id}")
    job = response.json()
    created = datetime.fromisoformat(job.pop("created_at"))
    assert datetime.fromisoformat(job.pop("run_at")) == created
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)
    url = f"/v1/jobs/{job_id}"
    assert job == {
        "id": str(job_id),
        "task": "work",
        "queue": "default",
        "status": "queued",
        "progress": None,
        "result": None,
        "error": None,
        "metadata": {"ticket": 7},
        "attempt": 0,
        "max_attempts": 4,
        "started_at": None,
        "completed_at": None,
        "cancel_requested_at": None,
        "parent_id": None,
        "batch_id": None,
        "retry_of": None,
        "retries": [],
        "urls": {
            "job": url,
            "attempts": f"{url}/attempts",
            "events": f"{url}/events",
            "cancel": f"{url}/cancel",
            "retry": f"{url}/retry",
        },
    }
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Content-Type"] == "application/json"


async def test_a_job_that_waits_says_when_to_ask_again(client, session, owner):
    in_half_a_minute = queue_job(session, owner_id=owner.id, delay=timedelta(seconds=30))
    tomorrow = queue_job(session, owner_id=owner.id, delay=timedelta(days=1))
    assert 25 <= int((await client.get(f"/v1/jobs/{in_half_a_minute}")).headers["Retry-After"]) <= 31
    assert (await client.get(f"/v1/jobs/{tomorrow}")).headers["Retry-After"] == "60"


async def test_a_processing_job_shows_live_progress(client, session, owner, redis_url, redis_prefix):
    claim = start_job(session, owner_id=owner.id)
    store.save_progress(session, {(claim.id, 1): {"current": 1, "total": 9, "message": None}})
    session.commit()
    saved = await client.get(f"/v1/jobs/{claim.id}")
    assert saved.json()["progress"] == {"current": 1, "total": 9, "message": None}
    live = {"current": 2, "total": 9, "message": "reading"}
    ProgressWriter(redis_url, redis_prefix).write({claim.id: live})
    response = await client.get(f"/v1/jobs/{claim.id}")
    assert response.json()["progress"] == live
    assert response.json()["status"] == "processing"
    assert response.headers["ETag"] != saved.headers["ETag"]


async def test_a_finished_job_shows_its_result_and_no_live_progress(
    client, session, owner, redis_url, redis_prefix
):
    claim = make_job(session, JobStatus.COMPLETED, owner_id=owner.id)
    ProgressWriter(redis_url, redis_prefix).write({claim.id: {"current": 2, "total": 9, "message": None}})
    response = await client.get(f"/v1/jobs/{claim.id}")
    job = response.json()
    assert job["result"] == {"answer": 42}
    assert job["progress"] is None
    assert job["started_at"] <= job["completed_at"]
    assert "Retry-After" not in response.headers


async def test_a_failed_job_shows_why(client, session, owner):
    claim = start_job(session, owner_id=owner.id)
    error = {"code": "no_text", "message": "The PDF has no text.", "stage": "read", "attempt": 1}
    store.fail(session, claim, error, None, traceback="Traceback: private")
    session.commit()
    assert (await client.get(f"/v1/jobs/{claim.id}")).json()["error"] == error


async def test_attempts_are_listed_without_their_tracebacks(client, session, owner):
    claim = start_job(session, owner_id=owner.id)
    error = {"code": "timeout", "message": "Too slow.", "stage": None, "attempt": 1}
    store.retry_later(session, claim, error, timedelta(0), traceback="Traceback: private")
    session.commit()
    claim_job(session, claim.id)
    response = await client.get(f"/v1/jobs/{claim.id}/attempts")
    first, second = response.json()["data"]
    assert (first["attempt"], first["outcome"], first["error"]) == (1, "retried", error)
    assert (second["attempt"], second["outcome"], second["ended_at"]) == (2, None, None)
    assert "private" not in response.text


async def test_an_unchanged_job_is_not_sent_again(client, session, owner):
    job_id = queue_job(session, owner_id=owner.id)
    etag = (await client.get(f"/v1/jobs/{job_id}")).headers["ETag"]
    assert etag.startswith('W/"')
    for matching in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        response = await client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": matching})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["ETag"] == etag
        assert "Retry-After" in response.headers
    claim_job(session, job_id)
    response = await client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})
    assert response.status_code == 200


async def test_a_heartbeat_does_not_change_the_etag(client, session, owner):
    claim = start_job(session, owner_id=owner.id)
    before = (await client.get(f"/v1/jobs/{claim.id}")).headers["ETag"]
    leases.renew(session, [PROCESS], worker="worker-1", lease=timedelta(hours=1))
    session.commit()
    assert (await client.get(f"/v1/jobs/{claim.id}")).headers["ETag"] == before


async def test_cancelling_a_queued_job_ends_it_and_again_changes_nothing(client, session, owner):
    job_id = queue_job(session, owner_id=owner.id)
    response = await client.post(f"/v1/jobs/{job_id}/cancel")
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{job_id}"
    job = response.json()
    assert job["status"] == "cancelled"
    assert job["completed_at"] is not None
    again = await client.post(f"/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()) == (202, job)


async def test_cancelling_a_processing_job_asks_it_to_stop(client, session, owner):
    claim = start_job(session, owner_id=owner.id)
    response = await client.post(f"/v1/jobs/{claim.id}/cancel")
    assert response.status_code == 202
    assert response.json()["status"] == "processing"
    assert response.json()["cancel_requested_at"] is not None
    assert response.headers["Retry-After"] == "1"


async def test_cancelling_a_finished_job_leaves_it_alone(client, session, owner):
    claim = make_job(session, JobStatus.COMPLETED, owner_id=owner.id)
    before = (await client.get(f"/v1/jobs/{claim.id}")).json()
    response = await client.post(f"/v1/jobs/{claim.id}/cancel")
    assert (response.status_code, response.json()) == (202, before)


async def test_pages_of_jobs_cover_each_once_in_both_directions(client, session, owner):
    newest_first = [str(queue_job(session, owner_id=owner.id)) for _ in range(7)][::-1]
    seen, before = [], {}
    while True:
        page = (await client.get("/v1/jobs", params={"limit": 3, **before})).json()
        ids = [job["id"] for job in page["data"]]
        assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])
        seen += ids
        if not page["has_more"]:
            break
        before = {"before": page["last_id"]}
    assert seen == newest_first
    newer = (await client.get("/v1/jobs", params={"limit": 3, "after": newest_first[5]})).json()
    assert [job["id"] for job in newer["data"]] == newest_first[2:5]
    assert newer["has_more"]
    newest = (await client.get("/v1/jobs", params={"limit": 3, "after": newest_first[2]})).json()
    assert [job["id"] for job in newest["data"]] == newest_first[:2]
    assert not newest["has_more"]


async def test_a_list_without_jobs_is_empty(client):
    assert (await client.get("/v1/jobs")).json() == {
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


async def test_jobs_are_filtered(client, session, owner):
    done = make_job(session, JobStatus.COMPLETED, owner_id=owner.id, task="read").id
    queued = queue_job(session, owner_id=owner.id, task="embed", queue="gpu")
    old = queue_job(session, owner_id=owner.id)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    session.execute(update(Job).where(Job.id == old).values(created_at=long_ago, run_at=long_ago))
    session.commit()

    async def ids(**params):
        return {job["id"] for job in (await client.get("/v1/jobs", params=params)).json()["data"]}

    assert await ids(status="completed") == {str(done)}
    assert await ids(task="embed") == {str(queued)}
    assert await ids(queue="gpu", status="queued") == {str(queued)}
    assert await ids(created_before="2021-01-01T00:00:00Z") == {str(old)}
    assert await ids(created_after="2021-01-01T00:00:00Z") == {str(done), str(queued)}


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 101},
        {"status": "sleeping"},
        {"before": "1"},
        {"created_after": "2021-01-01T00:00:00"},
        {"task": "\x00"},
        {"queue": "a\x00b"},
        {"before": str(new_id()), "after": str(new_id())},
    ],
)
async def test_filters_that_make_no_sense_are_refused(client, params):
    assert_problem(await client.get("/v1/jobs", params=params), 422, "invalid_request")
