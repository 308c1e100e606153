"""Jobs of all owners: lists, one with its history, what can be done with it."""

import asyncio
import re

import pytest
from sqlalchemy import select

from factories import job_row, make_job, queue_job, start_job
from holdfast.jobs import keys, looking, store
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import Job
from holdfast.states import JobStatus
from problem_checks import assert_problem
from waiting import wait_for

pytestmark = pytest.mark.anyio


@pytest.fixture
def owners(make_key):
    return [make_key("one")[0], make_key("two")[0]]


async def listed(browser, **where):
    response = await browser.get("/dashboard/api/jobs", params=where)
    assert response.status_code == 200, response.text
    return response.json()


async def test_jobs_of_all_owners_are_listed_newest_first(admin_browser, session, owners):
    ids = [str(queue_job(session, owner_id=owner.id)) for owner in owners] + [str(queue_job(session))]
    found = await listed(admin_browser)
    assert [job["id"] for job in found["data"]] == ids[::-1]
    assert [job["owner"] for job in found["data"]] == [None, "two", "one"]
    assert found["looked_to"] is None


@pytest.mark.parametrize("status", list(JobStatus))
async def test_jobs_are_narrowed_to_a_status(admin_browser, session, status):
    claims = {each: make_job(session, each) for each in JobStatus}
    found = await listed(admin_browser, status=status)
    assert [job["id"] for job in found["data"]] == [str(claims[status].id)]


async def test_jobs_are_narrowed_to_several_things_at_once(admin_browser, session, make_key):
    owner, token = make_key("one")
    wanted = queue_job(session, owner_id=owner.id, task="a", queue="fast")
    queue_job(session, owner_id=owner.id, task="b", queue="fast")
    queue_job(session, task="a", queue="fast")
    found = await listed(admin_browser, owner=token[:11], task="a", queue="fast", status="queued")
    assert [job["id"] for job in found["data"]] == [str(wanted)]


async def test_jobs_are_narrowed_to_an_error(admin_browser, session):
    failed = make_job(session, JobStatus.FAILED)
    assert [job["id"] for job in (await listed(admin_browser, error="task_error"))["data"]] == [
        str(failed.id)
    ]
    assert (await listed(admin_browser, error="other"))["data"] == []


async def test_pages_follow_each_other(admin_browser, session):
    ids = [str(queue_job(session)) for _ in range(5)]
    first = await listed(admin_browser, limit=2)
    second = await listed(admin_browser, limit=2, before=first["looked_to"])
    third = await listed(admin_browser, limit=2, before=second["looked_to"])
    assert [job["id"] for page in (first, second, third) for job in page["data"]] == ids[::-1]
    assert third["looked_to"] is None


async def test_a_look_ends_after_so_many_jobs_and_goes_on_from_there(admin_browser, session, monkeypatch):
    rare = str(queue_job(session, task="rare"))
    for _ in range(6):
        queue_job(session, task="usual")
    monkeypatch.setattr(looking, "LOOKED_AT", 4)
    first = await listed(admin_browser, task="rare")
    assert first["data"] == []
    second = await listed(admin_browser, task="rare", before=first["looked_to"])
    assert [job["id"] for job in second["data"]] == [rare]
    assert second["looked_to"] is None


async def test_queued_jobs_are_found_when_they_are_too_many_to_sort(admin_browser, session, monkeypatch):
    ids = [str(queue_job(session)) for _ in range(3)]
    monkeypatch.setattr(looking, "FEW", 3)
    found = await listed(admin_browser, status="queued")
    assert [job["id"] for job in found["data"]] == ids[::-1]


async def test_a_job_is_shown_with_its_history_and_without_its_arguments(admin_browser, session, owners):
    claim = start_job(session, owner_id=owners[0].id, args={"password": "kelp"}, metadata={"ticket": 7})
    error = {"code": "task_error", "message": "no", "stage": None, "attempt": 1}
    store.fail(session, claim, error, {"current": 1, "total": 2}, traceback="Traceback: here")
    session.commit()
    response = await admin_browser.get(f"/dashboard/api/jobs/{claim.id}")
    job = response.json()
    assert (job["owner"], job["status"], job["metadata"]) == ("one", "failed", {"ticket": 7})
    assert job["attempts"][0]["worker"] == "worker-1"
    assert job["attempts"][0]["error"]["traceback"] == "Traceback: here"
    assert (job["steps"], job["children"], job["retries"]) == ([], [], [])
    assert "kelp" not in response.text


async def test_the_events_of_any_job_are_streamed_to_who_is_signed_in(
    viewer_browser, browser, session, owners
):
    claim = start_job(session, owner_id=owners[0].id, args={"password": "kelp"})
    store.complete(session, claim, {"words": 2}, None)
    session.commit()
    path = f"/dashboard/api/jobs/{claim.id}/events"
    told = await viewer_browser.get(path, headers={"Accept": "text/event-stream"})
    assert told.headers["Content-Type"].startswith("text/event-stream")
    names = re.findall(r"^event: (.+)$", told.text, re.MULTILINE)
    assert (names[0], names[-1]) == ("snapshot", "job.completed")
    assert "kelp" not in told.text
    assert_problem(await browser.get(path), 401, "unauthenticated")


async def test_a_stream_ends_with_the_key_that_the_browser_was_signed_in_with(
    app, admin_browser, admin_key, session
):
    hub = app.state.holdfast.hub
    path = f"/dashboard/api/jobs/{start_job(session).id}/events"
    watching = asyncio.create_task(admin_browser.get(path))
    await asyncio.to_thread(wait_for, lambda: hub.opened.total, "a stream")
    keys.revoke_key(session, admin_key[1][3:11])
    session.commit()
    async with asyncio.timeout(10):
        told = (await watching).text
    assert told.endswith(": The API key was revoked or has expired.\n\n")
    assert_problem(await admin_browser.get(path), 401, "unauthenticated")


async def test_the_events_of_a_job_of_nobody_are_streamed(admin_browser, session):
    claim = make_job(session, JobStatus.FAILED)
    told = await admin_browser.get(
        f"/dashboard/api/jobs/{claim.id}/events", headers={"Accept": "text/event-stream"}
    )
    assert "event: job.failed" in told.text


async def test_a_result_that_is_long_is_not_shown(admin_browser, session):
    claim = start_job(session)
    store.complete(session, claim, [str(new_id()) for _ in range(10_000)], None)
    session.commit()
    job = (await admin_browser.get(f"/dashboard/api/jobs/{claim.id}")).json()
    assert job["result"]["value"] is None
    assert job["result"]["bytes"] > 100_000


async def test_arguments_are_shown_to_who_asks(admin_browser, session):
    job_id = queue_job(session, args={"password": "kelp"})
    shown = (await admin_browser.get(f"/dashboard/api/jobs/{job_id}/arguments")).json()
    assert shown["value"] == {"password": "kelp"}


@pytest.mark.parametrize("suffix", ["", "/arguments", "/events", "/cancel", "/retry"])
async def test_an_unknown_job_is_not_found(admin_browser, suffix):
    method = "POST" if suffix in ("/cancel", "/retry") else "GET"
    response = await admin_browser.request(method, f"/dashboard/api/jobs/{new_id()}{suffix}")
    assert_problem(response, 404, "job_not_found")


async def test_any_job_can_be_cancelled(admin_browser, session, owners):
    job_id = queue_job(session, owner_id=owners[0].id)
    response = await admin_browser.post(f"/dashboard/api/jobs/{job_id}/cancel")
    assert (response.status_code, response.json()) == (202, {"status": "cancelled"})
    assert job_row(session, job_id)["status"] == "cancelled"


async def test_a_dead_job_is_retried_for_its_owner(admin_browser, holdfast, session, owners):
    holdfast.task(name="work")(lambda job: None)
    dead = make_job(session, JobStatus.FAILED, owner_id=owners[0].id)
    response = await admin_browser.post(f"/dashboard/api/jobs/{dead.id}/retry")
    assert response.status_code == 202, response.text
    retry = job_row(session, response.json()["job_id"])
    assert (retry["owner_id"], retry["retry_of"]) == (owners[0].id, dead.id)


async def test_a_job_that_has_not_failed_cannot_be_retried(admin_browser, holdfast, session):
    holdfast.task(name="work")(lambda job: None)
    job_id = queue_job(session)
    assert_problem(await admin_browser.post(f"/dashboard/api/jobs/{job_id}/retry"), 409, "not_retryable")
    assert session.scalars(select(Job.id)).all() == [job_id]
