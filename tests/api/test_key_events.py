"""Watching all jobs of a key."""

import asyncio
from itertools import count

import pytest

from factories import ERROR, claim_job, make_owner, new_job, queue_job, start_job
from holdfast.jobs import events, store
from holdfast.jobs.events import LiveEvent
from waiting import wait_for

pytestmark = pytest.mark.anyio


def told(frame):
    return {name: frame.data[name] for name in ("job_id", "task", "status", "attempt")}


async def test_a_key_watches_all_its_jobs_and_nobody_elses(watch, session, owner, holdfast):
    old = start_job(session, owner_id=owner.id)
    other = make_owner(session, "other")[0]
    stream = await watch("/v1/events")
    snapshot = await stream.event("snapshot")
    assert snapshot.data == {
        "data": [
            {"job_id": str(old.id), "task": "work", "status": "processing", "attempt": 1, "progress": None}
        ],
        "has_more": False,
    }
    foreign = start_job(session, owner_id=other.id)
    holdfast.events.tell(foreign, events.STARTED)
    job_id = queue_job(session, owner_id=owner.id)
    assert told(await stream.event("job.queued"))["job_id"] == str(job_id)
    claim = claim_job(session, job_id)
    holdfast.events.tell(claim, events.STARTED)
    assert told(await stream.event("job.started")) == {
        "job_id": str(job_id),
        "task": "work",
        "status": "processing",
        "attempt": 1,
    }
    store.fail(session, claim, ERROR, None)
    session.commit()
    holdfast.events.tell(claim, events.FAILED)
    failed = await stream.event("job.failed")
    assert failed.id is None
    assert (failed.data["job_id"], failed.data["error"]) == (str(job_id), ERROR)
    store.complete(session, old, None, None)
    session.commit()
    holdfast.events.tell(old, events.COMPLETED)
    assert told(await stream.event("job.completed"))["job_id"] == str(old.id)
    await stream.leave()
    assert str(foreign.id) not in stream.body.decode()
    assert stream.body.count(b"event: job.started") == 1


async def test_jobs_that_nobody_told_of_are_found(watch, session, owner):
    """Redis may lose all news: what becomes of jobs is looked up."""
    stream = await watch("/v1/events")
    await stream.event("snapshot")
    claim = start_job(session, owner_id=owner.id)
    assert (await stream.event("job.queued")).data["job_id"] == str(claim.id)
    await stream.event("job.started")
    store.complete(session, claim, None, None)
    session.commit()
    await stream.event("job.completed")


async def test_a_key_watches_some_of_its_jobs(watch, session, owner, holdfast):
    painted = start_job(session, owner_id=owner.id, task="paint")
    ended = await watch("/v1/events?status=completed")
    paints = await watch("/v1/events?task=paint")
    assert (await ended.event("snapshot")).data["data"] == []
    assert len((await paints.event("snapshot")).data["data"]) == 1
    worked = start_job(session, owner_id=owner.id)
    for claim in (worked, painted):
        store.complete(session, claim, None, None)
        session.commit()
        holdfast.events.tell(claim, events.COMPLETED)
    assert (await paints.event("job.completed")).data["job_id"] == str(painted.id)
    await ended.until(lambda: len(ended.frames) == 2, "both jobs")
    assert {frame.data["job_id"] for frame in ended.frames} == {str(worked.id), str(painted.id)}
    for stream in (ended, paints):
        await stream.leave()
    assert ended.body.count(b"event: ") == 3
    assert b"job.started" not in paints.body


async def test_progress_of_all_jobs_is_told(watch, session, owner, holdfast, hub):
    claim = start_job(session, owner_id=owner.id)
    stream = await watch("/v1/events")
    await stream.event("snapshot")
    # What is said before is not told: there will be more of it.
    await asyncio.to_thread(wait_for, lambda: hub.feed.is_connected, "the feed")
    progress = {"current": 1, "total": 2, "message": "<b>half</b>"}
    encoded = events.encode_data(progress)
    holdfast.events.emit(LiveEvent(claim, count(1), events.PROGRESS, progress, encoded))
    shown = await stream.event("job.progress")
    assert told(shown) == {"job_id": str(claim.id), "task": "work", "status": "processing", "attempt": 1}
    assert shown.data["progress"] == progress


async def test_a_thousand_new_jobs_are_told_once_each(watch, session, owner, holdfast):
    stream = await watch("/v1/events")
    await stream.event("snapshot")
    jobs = [new_job(owner_id=owner.id) for _ in range(300)]
    for job in jobs:
        store.enqueue(session, job)
    session.commit()
    await stream.until(lambda: len(stream.frames) == 300, "all jobs")
    assert {frame.data["job_id"] for frame in stream.frames} == {str(job.id) for job in jobs}


async def test_the_last_follower_leaves_nothing(watch, session, owner, hub):
    start_job(session, owner_id=owner.id)
    first, second = await watch("/v1/events"), await watch("/v1/events")
    for stream in (first, second):
        await stream.event("snapshot")
    await first.leave()
    assert hub.watched_jobs == 1
    await second.leave()
    assert (hub.watched_jobs, hub.opened.total) == (0, 0)
