"""Streams while Redis is away, forgets, and comes back: PostgreSQL tells what has become of jobs."""

import asyncio
from contextlib import closing
from itertools import count
from urllib.parse import unquote, urlsplit

import pytest

from factories import claim_job, queue_job, start_job
from holdfast import Holdfast
from holdfast.chaos.proxy import Network
from holdfast.jobs import events, store
from holdfast.jobs.events import ATTEMPT, LiveEvent
from holdfast.live import EventWriter
from waiting import wait_for

pytestmark = pytest.mark.anyio


@pytest.fixture
def link(redis_url):
    """The way of the API to Valkey, which can be cut; the worker has its own."""
    with closing(Network()) as network:
        yield network.link(unquote(urlsplit(redis_url).path))


@pytest.fixture
def holdfast(settings, link):
    url = f"redis://127.0.0.1:{link.port}/0"
    yield (application := Holdfast(settings.model_copy(update={"redis_url": url})))
    application.database.close()


@pytest.fixture
def worker(redis_url, redis_prefix):
    """What a worker tells, by its own way."""
    return EventWriter(lambda: redis_url, redis_prefix)


@pytest.fixture
def say(worker):
    numbers = count(1)

    def say(claim, **data):
        worker.emit(LiveEvent(claim, numbers, "usage", data, events.encode_data(data)))
        worker.flush()

    return say


async def test_jobs_are_watched_while_redis_is_away(watch, session, owner, link):
    link.refuse()
    job_id = queue_job(session, owner_id=owner.id)
    one, all_jobs = await watch(f"/v1/jobs/{job_id}/events"), await watch("/v1/events")
    assert (await one.event("snapshot")).id == 1
    await all_jobs.event("snapshot")
    claim = claim_job(session, job_id)
    await one.event("job.started")
    await all_jobs.event("job.started")
    store.complete(session, claim, {"answer": 42}, None)
    session.commit()
    assert (await one.event("job.completed")).data["result"] == {"answer": 42}
    await all_jobs.event("job.completed")


async def test_what_was_said_while_redis_was_away_is_read_when_it_is_back(
    watch, session, owner, link, say, hub
):
    claim = start_job(session, owner_id=owner.id)
    stream = await watch(f"/v1/jobs/{claim.id}/events")
    await stream.event("snapshot")
    say(claim, n=1)
    await stream.event("usage")
    link.refuse()
    for number in (2, 3):
        say(claim, n=number)
    await asyncio.to_thread(wait_for, lambda: not hub.feed.is_connected, "the loss")
    link.restore()
    told = [await stream.event("usage") for _ in range(2)]
    assert [(frame.id - ATTEMPT, frame.data["n"]) for frame in told] == [(2, 2), (3, 3)]
    say(claim, n=4)
    assert (await stream.event("usage")).data["n"] == 4


async def test_a_redis_that_has_forgotten_all_takes_nothing_from_a_stream(
    watch, session, owner, say, worker, valkey
):
    claim = start_job(session, owner_id=owner.id)
    stream = await watch(f"/v1/jobs/{claim.id}/events")
    say(claim, n=1)
    await stream.event("usage")
    valkey.delete(f"{valkey.prefix}events:{claim.id}", f"{valkey.prefix}progress:{claim.id}")
    say(claim, n=2)
    assert (await stream.event("usage")).data["n"] == 2
    store.complete(session, claim, None, None)
    session.commit()
    worker.tell(claim, events.COMPLETED)
    await stream.event("job.completed")
    await stream.end()
