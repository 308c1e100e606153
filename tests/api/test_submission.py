"""Asking for work by name, once however often it is asked for with one key."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from fastapi import Response
from sqlalchemy import func, select

from factories import ERROR, claim_job, job_row, make_owner
from holdfast.api import IdempotencyKey, Owner, Session, answer_with
from holdfast.jobs import store
from holdfast.jobs.accepted import JobAccepted
from holdfast.jobs.context import JobContext
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import Job
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio

AT_ONCE = 100
ASKED = {"task": "paint", "args": {"wall": 3}}


@pytest.fixture(autouse=True)
def tasks(holdfast):
    @holdfast.task(exposed=True)
    def paint(job: JobContext, wall: int, colours: list[str] | None = None) -> int:
        return wall

    @holdfast.task
    def secret(job: JobContext) -> None: ...

    return {"paint": paint, "secret": secret}


def count_jobs(session):
    session.rollback()
    return session.scalar(select(func.count()).select_from(Job))


async def test_job_is_made_by_the_name_of_its_task(client, session, owner):
    noon = datetime(2100, 1, 1, 12, tzinfo=UTC)
    options = {"priority": 1, "metadata": {"house": 7}, "run_at": noon.isoformat()}
    response = await client.post("/v1/jobs", json=ASKED | options)

    assert response.status_code == 202, response.text
    accepted = response.json()
    url = f"/v1/jobs/{accepted['job_id']}"
    assert accepted == {
        "job_id": accepted["job_id"],
        "status": "queued",
        "created": True,
        "urls": {"job": url},
    }
    assert response.headers["Location"] == url
    assert response.headers["Retry-After"] == "1"
    row = job_row(session, accepted["job_id"])
    assert (row["task"], row["args"], row["owner_id"]) == ("paint", {"wall": 3}, owner.id)
    assert (row["priority"], row["metadata_"], row["run_at"]) == (1, {"house": 7}, noon)


async def test_delay_counts_from_now(client, session):
    response = await client.post("/v1/jobs", json=ASKED | {"delay": 90})
    row = job_row(session, response.json()["job_id"])
    assert row["run_at"] - row["created_at"] == timedelta(seconds=90)


async def test_limits_in_time_are_seconds_from_now(client, session):
    response = await client.post("/v1/jobs", json=ASKED | {"timeout": 1.5, "deadline": 60, "start_by": 30})
    row = job_row(session, response.json()["job_id"])
    assert row["timeout"] == timedelta(seconds=1.5)
    assert row["deadline"] - row["created_at"] == timedelta(seconds=60)
    assert row["start_by"] - row["created_at"] == timedelta(seconds=30)


@pytest.mark.parametrize("name", ["timeout", "deadline", "start_by"])
@pytest.mark.parametrize("seconds", [0, -1, 1e300, "PT5M", True])
async def test_limit_that_is_no_number_of_seconds_is_named(client, session, name, seconds):
    response = await client.post("/v1/jobs", json=ASKED | {name: seconds})
    body = assert_problem(response, 422, "invalid_request")
    assert [field["location"] for field in body["errors"]] == [["body", name]]
    assert count_jobs(session) == 0


async def test_limit_that_is_over_before_the_job_may_start_is_refused(client, session):
    response = await client.post("/v1/jobs", json=ASKED | {"delay": 60, "start_by": 60})
    body = assert_problem(response, 422, "invalid_arguments")
    assert body["detail"] == "start_by is over before the job may start, after 0:01:00."
    assert count_jobs(session) == 0


@pytest.mark.parametrize("name", ["secret", "nothing", "ingest_document", "", "a\x00b", "\ud800"])
async def test_task_that_is_not_exposed_is_as_unknown_as_one_that_is_not_there(client, session, name):
    content = f'{{"task": {ascii_json(name)}}}'
    response = await client.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    body = assert_problem(response, 404, "unknown_task")
    assert body["detail"] == "No task of this name can be asked for over HTTP."
    assert count_jobs(session) == 0


def ascii_json(text):
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"'


@pytest.mark.parametrize(
    ("args", "location"),
    [
        ({}, ["wall"]),
        ({"wall": "north"}, ["wall"]),
        ({"wall": 1, "colours": ["red", 2]}, ["colours", "1"]),
        ({"wall": 1, "session": 1}, ["session"]),
        ({"wall": 1, "owner": "me", "args": [1]}, ["owner"]),
    ],
)
async def test_arguments_that_do_not_fit_are_named(client, session, args, location):
    response = await client.post("/v1/jobs", json={"task": "paint", "args": args})
    body = assert_problem(response, 422, "invalid_arguments")
    assert body["errors"][0]["location"] == ["body", "args", *location]
    assert count_jobs(session) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"priority": 10},
        {"delay": -1},
        {"delay": 1e300},
        {"delay": "90"},
        {"delay": 1, "run_at": "2100-01-01T00:00:00Z"},
        {"run_at": "2100-01-01T00:00:00"},
        {"metadata": {"a": "\x00"}},
        {"metadata": []},
        {"args": []},
        {"args": {"wall": 1, "colours": ["\x00"]}},
        {"owner": str(new_id())},
        {"task": 7},
    ],
)
async def test_request_that_makes_no_sense_is_refused(client, session, change):
    response = await client.post("/v1/jobs", json=ASKED | change)
    assert response.status_code == 422, response.text
    assert response.json()["code"] in ("invalid_request", "invalid_arguments")
    assert count_jobs(session) == 0


async def test_long_body_is_refused(client):
    response = await client.post("/v1/jobs", json=ASKED | {"metadata": {"a": "a" * 1_000_000}})
    assert_problem(response, 413, "body_too_large")


async def submit(client, key, **changes):
    return await client.post("/v1/jobs", json=ASKED | changes, headers={"Idempotency-Key": key})


async def test_same_request_is_answered_with_the_same_job_and_200(client, session):
    first, again = await submit(client, "order-1"), await submit(client, "order-1")

    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json() | {"created": False}
    assert again.headers["Location"] == first.headers["Location"]
    assert count_jobs(session) == 1


async def test_another_request_with_the_same_key_is_refused(client, session):
    await submit(client, "order-1")
    again = await submit(client, "order-1", args={"wall": 4})
    assert_problem(again, 422, "idempotency_conflict")
    assert count_jobs(session) == 1


async def test_two_owners_may_use_the_same_key(client, stranger, session):
    mine, theirs = await submit(client, "order-1"), await submit(stranger, "order-1", args={"wall": 4})
    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["job_id"] != theirs.json()["job_id"]


async def test_failed_job_is_what_its_key_stands_for(client, session):
    job_id = (await submit(client, "order-1")).json()["job_id"]
    store.fail(session, claim_job(session, job_id), ERROR, None)
    session.commit()

    again = await submit(client, "order-1")
    assert (again.status_code, again.json()["job_id"], again.json()["status"]) == (200, job_id, "failed")
    assert "Retry-After" not in again.headers


@pytest.mark.parametrize(
    "garbage",
    [b"", b"k" * 256, b"k" * 10_000, b"a\x00b", "Schlüssel".encode(), b"\xff", b"a b", b"a\n", b" "],
)
@pytest.mark.parametrize("path", ["jobs", "documents/ingest", "batches", f"jobs/{UUID(int=1)}/retry"])
async def test_garbage_is_no_key(client, session, path, garbage):
    response = await client.post(f"/v1/{path}", json=ASKED, headers={b"Idempotency-Key": garbage})
    body = assert_problem(response, 422, "invalid_request")
    assert body["errors"][0]["location"] == ["header", "Idempotency-Key"]
    assert count_jobs(session) == 0


async def test_hundred_concurrent_requests_with_one_key_make_one_job(client, session):
    responses = await asyncio.gather(*(submit(client, "order-1") for _ in range(AT_ONCE)))

    assert sorted(response.status_code for response in responses) == [200] * (AT_ONCE - 1) + [202]
    assert len({response.json()["job_id"] for response in responses}) == 1
    assert count_jobs(session) == 1


async def test_endpoint_of_a_user_takes_the_key_as_well(app, client, session, tasks):
    @app.post("/walls/{wall}", status_code=202)
    async def paint_wall(
        wall: int, owner: Owner, session: Session, key: IdempotencyKey, response: Response
    ) -> JobAccepted:
        accepted = await tasks["paint"].enqueue(session, owner=owner, idempotency_key=key, wall=wall)
        return answer_with(response, accepted)

    async def paint(wall):
        return await client.post(f"/walls/{wall}", headers={"Idempotency-Key": "k"})

    first, again = await paint(3), await paint(3)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.headers["Location"] == first.headers["Location"] == first.json()["urls"]["job"]
    assert_problem(await paint(4), 422, "idempotency_conflict")
    assert count_jobs(session) == 1


async def test_request_that_fails_leaves_its_key_free(app, client, session, tasks):
    @app.post("/fragile", status_code=202)
    async def paint_badly(owner: Owner, session: Session, key: IdempotencyKey, fails: bool) -> JobAccepted:
        accepted = await tasks["paint"].enqueue(session, owner=owner, idempotency_key=key, wall=3)
        if fails:
            raise RuntimeError("after the job was written")
        return accepted

    responses = [
        await client.post("/fragile", params={"fails": fails}, headers={"Idempotency-Key": "k"})
        for fails in (True, False)
    ]
    assert [response.status_code for response in responses] == [500, 202]
    assert responses[1].json()["created"] is True
    assert count_jobs(session) == 1


async def test_jobs_are_filtered_by_error_family_and_end(client, session, owner, tasks):
    def make(**options):
        job_id = tasks["paint"].enqueue(session, owner=owner, wall=1, **options).job_id
        session.commit()
        return job_id

    failed, other, queued = make(), make(), make()
    parent = make()
    session.get(Job, queued).parent_id = parent
    store.fail(session, claim_job(session, failed), ERROR | {"code": "no_text"}, None)
    store.fail(session, claim_job(session, other), ERROR, None)
    session.get(Job, other).completed_at = datetime(2020, 1, 1, tzinfo=UTC)
    session.commit()

    async def ids(**params):
        return {job["id"] for job in (await client.get("/v1/jobs", params=params)).json()["data"]}

    assert await ids(error="no_text") == {str(failed)}
    assert await ids(parent_id=str(parent)) == {str(queued)}
    assert await ids(completed_after="2021-01-01T00:00:00Z") == {str(failed)}
    assert await ids(status="failed", was_retried="false") == {str(failed), str(other)}
    assert await ids(was_retried="true") == set()


async def test_owner_without_jobs_sees_no_jobs_of_another(client, session, tasks):
    tasks["paint"].enqueue(session, owner=make_owner(session, "other")[0], wall=1)
    session.commit()
    assert (await client.get("/v1/jobs", params={"error": "task_error"})).json()["data"] == []
