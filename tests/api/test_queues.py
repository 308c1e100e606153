"""Queues and workers over HTTP, for keys of the scope `admin`."""

from datetime import timedelta

import httpx
import pytest

from factories import LEASE, PROCESS, WORKER, queue_job, start_job
from holdfast.jobs import store, workers
from holdfast.jobs.keys import create_key
from holdfast.jobs.workers import WorkerFacts
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio


@pytest.fixture
async def operator(app, session):
    """A client whose key has the scope."""
    _, token = create_key(session, "operator", scopes=["admin"])
    session.commit()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api", headers={"X-API-Key": token}
    ) as client:
        yield client


def say_alive(session, name, *, queues=("default",), is_consuming=True):
    facts = WorkerFacts("host-1", 7, "prefork", 2, queues, 1, is_consuming)
    workers.say_alive(session, name, facts)
    session.commit()


def may_start(session, job_id):
    started = store.claim(session, job_id, worker=WORKER, process=PROCESS, lease=LEASE)
    session.rollback()
    return started is not None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/queues"),
        ("GET", "/v1/workers"),
        ("POST", "/v1/queues/default/pause"),
        ("POST", "/v1/queues/default/resume"),
    ],
)
async def test_a_key_without_the_scope_is_refused(client, anonymous, method, path):
    assert_problem(await client.request(method, path), 403, "forbidden")
    assert_problem(await anonymous.request(method, path), 401, "unauthenticated")


async def test_queues_are_listed_with_what_is_in_them(operator, session):
    queue_job(session, queue="a")
    queue_job(session, queue="a", sent=False)
    queue_job(session, queue="a", delay=timedelta(hours=1))
    start_job(session, queue="b")
    say_alive(session, "w1", queues=["a", "c"])
    listed = (await operator.get("/v1/queues")).json()["data"]

    waits = [queue.pop("oldest_wait_seconds") for queue in listed]
    assert 0 <= waits[0] < 60
    assert waits[1:] == [None, None]
    assert listed == [
        {"name": "a", "queued": 3, "processing": 0, "workers": 1, "paused_at": None},
        {"name": "b", "queued": 0, "processing": 1, "workers": 0, "paused_at": None},
        {"name": "c", "queued": 0, "processing": 0, "workers": 1, "paused_at": None},
    ]


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(operator, session):
    job_id = queue_job(session, queue="a")
    elsewhere = queue_job(session, queue="b")
    running = start_job(session, queue="a")
    for _ in range(2):
        paused = await operator.post("/v1/queues/a/pause")
        assert paused.status_code == 200
        assert paused.json()["paused_at"] is not None
    assert not may_start(session, job_id)
    assert may_start(session, elsewhere)
    assert store.complete(session, running, "done", None)
    session.commit()

    for _ in range(2):
        resumed = await operator.post("/v1/queues/a/resume")
        assert resumed.json()["paused_at"] is None
    assert may_start(session, job_id)


async def test_a_queue_may_be_paused_before_it_has_jobs(operator, session):
    paused = (await operator.post("/v1/queues/to come/pause")).json()
    assert (paused["name"], paused["queued"], paused["workers"]) == ("to come", 0, 0)
    assert not may_start(session, queue_job(session, queue="to come"))


async def test_a_name_that_cannot_be_stored_is_refused(operator):
    assert_problem(await operator.post("/v1/queues/%00/pause"), 422, "invalid_request")


async def test_workers_are_listed_as_they_described_themselves(operator, session):
    say_alive(session, "w1")
    say_alive(session, "w2")
    say_alive(session, "w2", is_consuming=False)
    listed = (await operator.get("/v1/workers")).json()["data"]

    assert [(worker["name"], worker["is_consuming"]) for worker in listed] == [("w1", True), ("w2", False)]
    assert (listed[0]["pool"], listed[0]["running"], listed[0]["queues"]) == ("prefork", 1, ["default"])
