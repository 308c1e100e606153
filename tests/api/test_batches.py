"""Batches over HTTP: all or nothing, counted, listed and cancelled."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, func, select

from factories import ERROR, claim_job, job_row
from holdfast.api.batches import MAX_BATCH_BYTES
from holdfast.jobs import store
from holdfast.jobs.context import JobContext
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import Batch, Job
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio

NONE = {"queued": 0, "processing": 0, "completed": 0, "failed": 0, "cancelled": 0}


@pytest.fixture(autouse=True)
def task(holdfast):
    @holdfast.task(exposed=True)
    def paint(job: JobContext, wall: int) -> int:
        return wall

    return paint


def walls(count):
    return [{"args": {"wall": wall}} for wall in range(count)]


def count(session, model):
    session.rollback()
    return session.scalar(select(func.count()).select_from(model))


async def submit(client, jobs, *, key=None, **more):
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post("/v1/batches", json={"task": "paint", "jobs": jobs, **more}, headers=headers)


async def test_batch_is_accepted_whole_and_in_order(client, session, owner):
    jobs = [{"args": {"wall": wall}, "metadata": {"n": wall}} for wall in range(3)]
    response = await submit(client, jobs, priority=2, metadata={"house": 7})

    assert response.status_code == 202, response.text
    accepted = response.json()
    url = f"/v1/batches/{accepted['batch_id']}"
    assert response.headers["Location"] == accepted["urls"]["batch"] == url
    assert (accepted["total"], accepted["created"]) == (3, True)
    rows = [job_row(session, job_id) for job_id in accepted["job_ids"]]
    assert [(row["args"], row["metadata_"]) for row in rows] == [
        (job["args"], job["metadata"]) for job in jobs
    ]
    assert {(row["priority"], row["owner_id"]) for row in rows} == {(2, owner.id)}
    shown = (await client.get(url)).json()
    assert shown["metadata"] == {"house": 7}
    assert shown["counts"] == NONE | {"queued": 3, "total": 3}
    assert shown["urls"] == accepted["urls"]


async def test_options_hold_for_each_job(client, session):
    options = {"timeout": 1.5, "deadline": 60, "start_by": 30, "run_at": "2100-01-01T12:00:00Z"}
    response = await submit(client, walls(2), **options)

    assert response.status_code == 202, response.text
    for job_id in response.json()["job_ids"]:
        row = job_row(session, job_id)
        assert (row["timeout"], row["run_at"]) == (
            timedelta(seconds=1.5),
            datetime(2100, 1, 1, 12, tzinfo=UTC),
        )
        assert row["deadline"] - row["created_at"] == timedelta(seconds=60)
        assert row["start_by"] - row["created_at"] == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ({"timeout": 0}, "invalid_request"),
        ({"deadline": "soon"}, "invalid_request"),
        ({"delay": -1}, "invalid_request"),
        ({"delay": 60, "deadline": 30}, "invalid_arguments"),
        ({"delay": 60, "run_at": "2100-01-01T12:00:00Z"}, "invalid_arguments"),
    ],
)
async def test_options_that_cannot_be_are_refused(client, session, option, code):
    assert_problem(await submit(client, walls(2), **option), 422, code)
    assert count(session, Job) == 0


async def test_bad_job_is_named_and_nothing_is_written(client, session):
    response = await submit(client, [*walls(4), {"args": {"wall": "north"}}])
    body = assert_problem(response, 422, "invalid_arguments")
    assert body["errors"][0]["location"] == ["body", "jobs", "4", "args", "wall"]
    assert body["detail"].startswith("Job 4 of the batch: ")
    assert (count(session, Job), count(session, Batch)) == (0, 0)


@pytest.mark.parametrize(
    ("content", "location"),
    [
        (b'{"task": "paint", "jobs": []}', ["body", "jobs"]),
        (b'{"task": "paint", "jobs": [{"args": {}, "wall": 1}]}', ["body", "jobs", "0", "wall"]),
        (b'{"task": "paint", "jobs": [{"args": []}]}', ["body", "jobs", "0", "args"]),
        (b'{"jobs": [{}]}', ["body", "task"]),
        (b"[]", ["body"]),
        (b"", ["body"]),
        (b'{"task"', ["body"]),
        (b"\xff", ["body"]),
        (b'{"task": "paint", "jobs": [%s{}]}' % (b"{}," * 10_000), ["body", "jobs"]),
    ],
)
async def test_body_that_is_no_batch_is_refused(client, session, content, location):
    response = await client.post("/v1/batches", content=content)
    body = assert_problem(response, 422, "invalid_request")
    assert body["errors"][0]["location"] == location
    assert count(session, Job) == 0


async def test_task_that_is_not_exposed_is_unknown(client):
    response = await client.post("/v1/batches", json={"task": "ingest_document", "jobs": [{}]})
    assert_problem(response, 404, "unknown_task")


async def test_body_that_is_too_long_is_refused_while_it_is_read(client, session):
    async def endless():
        for _ in range(MAX_BATCH_BYTES // 1_000_000 + 2):
            yield b" " * 1_000_000

    assert_problem(await client.post("/v1/batches", content=endless()), 413, "body_too_large")


async def test_body_of_a_stranger_is_not_read(anonymous):
    async def unread():
        pytest.fail("the body was read")
        yield b""

    assert_problem(await anonymous.post("/v1/batches", content=unread()), 401, "unauthenticated")


async def test_same_batch_under_one_key_is_made_once(client, session):
    first, again = await submit(client, walls(3), key="k"), await submit(client, walls(3), key="k")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json() | {"created": False}
    assert_problem(await submit(client, walls(2), key="k"), 422, "idempotency_conflict")
    assert (count(session, Job), count(session, Batch)) == (3, 1)


async def test_many_concurrent_requests_with_one_key_make_one_batch(client, session):
    responses = await asyncio.gather(*(submit(client, walls(20), key="k") for _ in range(40)))
    assert sorted(response.status_code for response in responses) == [200] * 39 + [202]
    assert (count(session, Job), count(session, Batch)) == (20, 1)


async def test_counts_follow_the_jobs(client, session):
    accepted = (await submit(client, walls(5))).json()
    done, failed, _, stopped, _ = accepted["job_ids"]
    store.complete(session, claim_job(session, done), 1, None)
    store.fail(session, claim_job(session, failed), ERROR, None)
    store.cancel(session, stopped)
    claim_job(session, accepted["job_ids"][4])

    shown = (await client.get(accepted["urls"]["batch"])).json()
    assert shown["counts"] == {
        "queued": 1,
        "processing": 1,
        "completed": 1,
        "failed": 1,
        "cancelled": 1,
        "total": 5,
    }


async def test_jobs_of_a_batch_are_listed(client):
    accepted = (await submit(client, walls(3))).json()
    await submit(client, walls(2))
    listed = (await client.get(accepted["urls"]["jobs"])).json()["data"]
    assert [job["id"] for job in listed] == accepted["job_ids"][::-1]
    assert {job["batch_id"] for job in listed} == {accepted["batch_id"]}


async def test_batches_are_listed_newest_first_and_of_one_key_only(client, stranger, session):
    made = [(await submit(client, walls(n))).json()["batch_id"] for n in (1, 2, 3)]
    await submit(stranger, walls(1))
    page = (await client.get("/v1/batches", params={"limit": 2})).json()
    assert [batch["id"] for batch in page["data"]] == made[:0:-1]
    assert [batch["counts"]["total"] for batch in page["data"]] == [3, 2]
    assert page["has_more"]
    last = (await client.get("/v1/batches", params={"before": page["last_id"]})).json()
    assert [batch["id"] for batch in last["data"]] == made[:1]
    assert not last["has_more"]


async def test_cancelling_ends_what_waits_and_asks_what_runs(client, session):
    accepted = (await submit(client, walls(3))).json()
    running, done, waiting = accepted["job_ids"]
    claim_job(session, running)
    store.complete(session, claim_job(session, done), 1, None)
    session.commit()

    url = accepted["urls"]["cancel"]
    response = await client.post(url)
    assert response.status_code == 202, response.text
    assert response.headers["Location"] == accepted["urls"]["batch"]
    assert response.json()["counts"] == NONE | {"processing": 1, "completed": 1, "cancelled": 1, "total": 3}
    assert response.json()["cancel_requested_at"] is not None
    assert job_row(session, running)["cancel_requested_at"] is not None
    assert job_row(session, done)["cancel_requested_at"] is None
    assert job_row(session, waiting)["status"] == "cancelled"
    assert (await client.post(url)).json() == response.json()


async def test_large_batch_is_cancelled_in_bounded_statements(client, holdfast, session):
    accepted = (await submit(client, walls(2_500))).json()
    sizes = []
    listen = holdfast.database.async_engine.sync_engine

    def remember(connection, cursor, statement, *_):
        if statement.startswith("WITH unasked"):
            sizes.append(cursor.rowcount)

    event.listen(listen, "after_cursor_execute", remember)
    response = await client.post(accepted["urls"]["cancel"])
    assert response.json()["counts"] == NONE | {"cancelled": 2_500, "total": 2_500}
    assert sizes == [1_000, 1_000, 500, 0]


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("POST", "/cancel")])
async def test_batch_of_another_key_is_forbidden_and_an_unknown_one_not_found(
    client, stranger, session, method, suffix
):
    accepted = (await submit(client, walls(1))).json()
    response = await stranger.request(method, accepted["urls"]["batch"] + suffix)
    assert_problem(response, 403, "forbidden")
    assert job_row(session, accepted["job_ids"][0])["status"] == "queued"
    response = await client.request(method, f"/v1/batches/{new_id()}{suffix}")
    assert_problem(response, 404, "batch_not_found")
