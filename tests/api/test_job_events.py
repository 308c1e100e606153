"""Watching one job: what its streams show, in which order, and when they end."""

import asyncio
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import delete, event, func, update

from factories import ERROR, claim_job, make_job, make_owner, queue_job, start_job
from holdfast.jobs import events, leases, store
from holdfast.jobs.events import ATTEMPT, LiveEvent
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import ApiKey, Job
from holdfast.states import JobStatus
from problem_checks import assert_problem
from waiting import wait_for

pytestmark = pytest.mark.anyio


@pytest.fixture
def say(holdfast):
    """Let an attempt say something, as its worker does."""
    numbers = {}

    def say(claim, name, **data):
        of_attempt = numbers.setdefault((claim.id, claim.attempt), count(1))
        holdfast.events.emit(LiveEvent(claim, of_attempt, name, data, events.encode_data(data)))
        holdfast.events.flush()

    return say


@pytest.fixture
def change(session, holdfast):
    """Write a transition of a job, and tell of it as a worker does."""

    def change(write, claim, *args, name=events.COMPLETED):
        assert write(session, claim, *args)
        session.commit()
        holdfast.events.tell(claim, name)

    return change


def ids(frames):
    return [(frame.id, frame.event) for frame in frames]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_a_foreign_or_unknown_job_is_not_watched(watch, session, stranger, accept):
    path = f"/v1/jobs/{queue_job(session, owner_id=make_owner(session, 'other')[0].id)}/events"
    client = await watch(path, accept=accept)
    assert (client.status, (await client.end(), client.json)[1]["code"]) == (403, "forbidden")
    client = await watch(f"/v1/jobs/{new_id()}/events", accept=accept)
    assert (client.status, (await client.end(), client.json)[1]["code"]) == (404, "job_not_found")


async def test_a_job_is_watched_from_its_queue_to_its_end(
    watch, session, owner, say, change, holdfast, client
):
    job_id = queue_job(session, owner_id=owner.id)
    stream = await watch(f"/v1/jobs/{job_id}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    snapshot = await stream.event("snapshot")
    assert snapshot.id == 1
    assert snapshot.data == (await client.get(f"/v1/jobs/{job_id}")).json()

    claim = claim_job(session, job_id)
    holdfast.events.tell(claim, events.STARTED)
    started = await stream.event("job.started")
    assert (started.id, started.data["attempt"]) == (ATTEMPT, 1)
    say(claim, "output.delta", text="Kelp")
    delta = await stream.event("output.delta")
    assert (delta.id, delta.data) == (ATTEMPT + 1, {"text": "Kelp"})
    change(store.complete, claim, {"answer": 42}, None)

    completed = await stream.event("job.completed")
    assert completed.id == 2 * ATTEMPT - 1
    assert completed.data == (await client.get(f"/v1/jobs/{job_id}")).json()
    assert await stream.end() == []
    assert stream.is_whole


async def test_events_that_come_before_the_start_is_known_come_after_it(watch, session, owner, say):
    job_id = queue_job(session, owner_id=owner.id)
    stream = await watch(f"/v1/jobs/{job_id}/events")
    claim = claim_job(session, job_id)
    say(claim, "usage", tokens=3)
    await stream.event("snapshot")
    assert (await stream.event("job.started")).id == ATTEMPT
    assert (await stream.event("usage")).id == ATTEMPT + 1


async def test_a_retry_is_told_and_the_next_attempt_after_it(watch, session, owner, say, change, holdfast):
    claim = start_job(session, owner_id=owner.id)
    stream = await watch(f"/v1/jobs/{claim.id}/events")
    say(claim, "usage", tokens=1)
    change(store.retry_later, claim, ERROR, timedelta(), name=events.RETRYING)
    retrying = await stream.event("job.retrying")
    assert retrying.id == 2 * ATTEMPT - 1
    assert retrying.data["error"] == ERROR
    assert "traceback" not in str(retrying.data)

    second = claim_job(session, claim.id)
    holdfast.events.tell(second, events.STARTED)
    say(claim, "usage", tokens=99)  # of an attempt that is over
    say(second, "usage", tokens=2)
    assert (await stream.event("job.started")).id == 2 * ATTEMPT
    assert (await stream.event("usage")).data == {"tokens": 2}


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED])
async def test_who_comes_after_the_end_is_shown_the_job_and_its_end(watch, session, owner, status):
    claim = make_job(session, status, owner_id=owner.id)
    stream = await watch(f"/v1/jobs/{claim.id}/events")
    assert await stream.end() == ["snapshot", f"job.{status}"]
    snapshot, end = stream.frames
    assert snapshot.id < end.id
    assert snapshot.data == end.data
    assert snapshot.data["status"] == status
    again = await watch(f"/v1/jobs/{claim.id}/events", last_event_id=str(end.id))
    assert (again.status, await again.end()) == (204, [])


async def test_a_job_cancelled_in_its_queue_ends_without_an_attempt(watch, session, owner):
    job_id = queue_job(session, owner_id=owner.id)
    store.cancel(session, job_id)
    session.commit()
    stream = await watch(f"/v1/jobs/{job_id}/events?starting_after=0")
    await stream.end()
    assert ids(stream.frames) == [(1, "job.queued"), (ATTEMPT, "job.cancelled")]


async def test_a_lost_worker_is_told_as_a_retry(session, client, owner):
    claim = start_job(session, owner_id=owner.id, max_crashes=2)
    leases.rescue_from_workers(session, ["worker-1"], limit=10)
    session.commit()
    claim_job(session, claim.id)
    leases.rescue_from_workers(session, ["worker-1"], limit=10)
    session.commit()
    log = (await client.get(f"/v1/jobs/{claim.id}/events", headers={"Accept": "application/json"})).json()
    assert [(event["id"], event["event"]) for event in log["data"]] == [
        (1, "job.queued"),
        (ATTEMPT, "job.started"),
        (2 * ATTEMPT - 1, "job.retrying"),
        (2 * ATTEMPT, "job.started"),
        (3 * ATTEMPT - 1, "job.failed"),
    ]
    assert log["data"][2]["data"]["outcome"] == "lost"


async def test_a_client_that_comes_back_misses_nothing_and_sees_nothing_twice(watch, session, owner, say):
    claim = start_job(session, owner_id=owner.id)
    for number in range(1, 6):
        say(claim, "usage", tokens=number)
    stream = await watch(f"/v1/jobs/{claim.id}/events", last_event_id=str(ATTEMPT + 2))
    assert (await stream.event("usage")).data == {"tokens": 3}
    say(claim, "usage", tokens=6)
    told = [await stream.event("usage") for _ in range(3)]
    assert [(frame.id - ATTEMPT, frame.data["tokens"]) for frame in told] == [(4, 4), (5, 5), (6, 6)]


async def test_starting_after_zero_tells_all_from_the_beginning(watch, session, owner, say):
    claim = start_job(session, owner_id=owner.id)
    say(claim, "output.delta", text="Kelp")
    stream = await watch(f"/v1/jobs/{claim.id}/events?starting_after=0")
    await stream.until(lambda: len(stream.frames) == 3, "all events")
    assert ids(stream.frames) == [(1, "job.queued"), (ATTEMPT, "job.started"), (ATTEMPT + 1, "output.delta")]


@pytest.mark.parametrize("told", ["garbage", "-1", "١", "", str(ATTEMPT + 77), str(2**60), "9" * 400])
async def test_an_id_that_cannot_be_is_answered_with_a_snapshot(watch, session, owner, say, told):
    claim = start_job(session, owner_id=owner.id)
    say(claim, "usage", tokens=1)
    stream = await watch(f"/v1/jobs/{claim.id}/events", last_event_id=told)
    assert (await stream.event("snapshot")).id == ATTEMPT + 1
    say(claim, "usage", tokens=2)
    assert (await stream.event("usage")).data == {"tokens": 2}


async def test_what_redis_has_forgotten_is_made_up_for_by_a_snapshot(watch, session, owner, say, valkey):
    claim = start_job(session, owner_id=owner.id)
    for number in range(1, 4):
        say(claim, "usage", tokens=number)
    valkey.delete(f"{valkey.prefix}events:{claim.id}")
    say(claim, "usage", tokens=4)
    stream = await watch(f"/v1/jobs/{claim.id}/events", last_event_id=str(ATTEMPT + 2))
    assert (await stream.event("snapshot")).data["status"] == "processing"
    assert (await stream.event("usage")).id == ATTEMPT + 4


async def test_a_long_way_behind_is_read_page_by_page(watch, session, owner, say, holdfast):
    claim = start_job(session, owner_id=owner.id)
    numbers = count(1)
    for number in range(1_000):
        data = {"tokens": number, "text": "x" * 500}
        holdfast.events.emit(LiveEvent(claim, numbers, f"n{number % 2}", data, events.encode_data(data)))
    holdfast.events.flush()
    stream = await watch(f"/v1/jobs/{claim.id}/events?starting_after={ATTEMPT}")
    await stream.until(lambda: len(stream.frames) == 1_000, "all events")
    assert [frame.id - ATTEMPT for frame in stream.frames] == list(range(1, 1_001))


async def test_events_as_json_go_on_where_the_last_page_ended(session, client, owner, say):
    claim = make_job(session, JobStatus.PROCESSING, owner_id=owner.id)
    for number in range(1, 5):
        say(claim, "usage", tokens=number)
    store.complete(session, claim, {"answer": 42}, None)
    session.commit()
    seen, after, has_more = [], 0, True
    while has_more:
        url = f"/v1/jobs/{claim.id}/events?after={after}&limit=3"
        page = (await client.get(url, headers={"Accept": "application/json"})).json()
        seen += [event["event"] for event in page["data"]]
        after, has_more = page["data"][-1]["id"], page["has_more"]
    assert seen == ["job.queued", "job.started", *["usage"] * 4, "job.completed"]


async def test_a_client_that_leaves_cancels_nothing_and_leaves_nothing(watch, session, owner, hub):
    claim = start_job(session, owner_id=owner.id)
    stream = await watch(f"/v1/jobs/{claim.id}/events")
    await stream.event("snapshot")
    assert (hub.watched_jobs, hub.opened.total) == (1, 1)
    await stream.leave()
    assert (hub.watched_jobs, hub.opened.total) == (0, 0)
    session.rollback()
    assert session.get(Job, claim.id).status == JobStatus.PROCESSING


async def test_a_job_that_is_deleted_ends_its_streams(watch, session, owner, hub):
    claim = start_job(session, owner_id=owner.id)
    stream = await watch(f"/v1/jobs/{claim.id}/events")
    session.execute(delete(Job).where(Job.id == claim.id))
    session.commit()
    hub.look_at([claim.id])
    await stream.end()
    assert stream.comments[-1] == "The job was deleted."


async def test_one_key_may_have_so_many_streams_and_no_more(holdfast, watch, session, owner, hub):
    hub.opened.most = 2
    claim = start_job(session, owner_id=owner.id)
    path = f"/v1/jobs/{claim.id}/events"
    first, _ = await watch(path), await watch("/v1/events")
    third = await watch(path)
    await third.end()
    assert (third.status, third.json["code"]) == (429, "too_many_streams")
    assert int(third.headers["retry-after"]) > 0
    assert (await watch(path, token=make_owner(session, "second")[1])).status == 403
    await first.leave()
    assert (await watch(path)).status == 200


async def test_a_reader_that_is_too_slow_is_let_go_and_told_why(watch, session, owner, holdfast, hub):
    claim = start_job(session, owner_id=owner.id)
    slow, quick = [await watch(f"/v1/jobs/{claim.id}/events") for _ in range(2)]
    await quick.event("snapshot")
    await slow.event("snapshot")
    streams = hub._watched[claim.id].streams
    await asyncio.to_thread(wait_for, lambda: all(each._kept is None for each in streams), "live streams")
    slow.stop_reading()
    numbers = count(1)
    for number in range(60):
        data = {"text": "x" * 15_000}
        holdfast.events.emit(LiveEvent(claim, numbers, f"n{number % 2}", data, events.encode_data(data)))
        holdfast.events.flush()
        await quick.event(f"n{number % 2}")
    slow.read_on()
    await slow.end()
    assert slow.comments[-1].startswith("You read too slowly")
    assert len(slow.body) < 400_000
    assert not quick.is_whole


def end_key(session, owner, how):
    session.execute(update(ApiKey).where(ApiKey.id == owner.id).values({how: func.now()}))
    session.commit()


@pytest.mark.parametrize("how", ["revoked_at", "expires_at"])
async def test_streams_end_with_their_key_and_those_of_others_go_on(watch, session, owner, say, hub, how):
    claim = start_job(session, owner_id=owner.id)
    other, token = make_owner(session, "other")
    streams = [await watch(f"/v1/jobs/{claim.id}/events"), await watch("/v1/events")]
    for stream in streams:
        await stream.event("snapshot")
    foreign = start_job(session, owner_id=other.id)
    kept = await watch(f"/v1/jobs/{foreign.id}/events", token=token)
    await kept.event("snapshot")
    end_key(session, owner, how)
    for stream in streams:
        await stream.end()
        assert stream.is_whole
        assert stream.comments[-1] == "The API key was revoked or has expired."
    assert hub.opened.watching_keys == [other.id]
    say(foreign, "usage", tokens=3)
    assert (await kept.event("usage")).data == {"tokens": 3}


async def test_all_keys_with_streams_are_looked_at_in_one_question(watch, session, holdfast):
    for number in range(3):
        token = make_owner(session, f"key {number}")[1]
        for _ in range(2):
            await (await watch("/v1/events", token=token)).event("snapshot")
    asked = []

    @event.listens_for(holdfast.database.async_statements.sync_engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, *rest):
        if "api_keys" in statement:
            asked.append(len(parameters["ids"]))

    await asyncio.to_thread(wait_for, lambda: len(asked) == 2, "two looks")
    assert asked == [3, 3]


async def test_streams_end_when_the_server_ends(watch, session, owner, hub):
    claim = start_job(session, owner_id=owner.id)
    streams = [await watch(f"/v1/jobs/{claim.id}/events"), await watch("/v1/events")]
    for stream in streams:
        await stream.event("snapshot")
    hub.close()
    for stream in streams:
        await stream.end()
        assert stream.is_whole
        assert stream.comments[-1].startswith("The server shuts down")
    late = await watch(f"/v1/jobs/{claim.id}/events")
    await late.end()
    assert late.comments[-1].startswith("The server shuts down")


async def test_a_silent_stream_shows_that_it_is_there(watch, session, owner, monkeypatch):
    monkeypatch.setattr("holdfast.api.events.stream.HEARTBEAT_SECONDS", 0.05)
    stream = await watch(f"/v1/jobs/{queue_job(session, owner_id=owner.id)}/events")
    await stream.until(lambda: stream.comments.count("still here") >= 2, "heartbeats")


async def test_markup_in_what_a_task_says_stays_json(watch, session, owner, say):
    claim = start_job(session, owner_id=owner.id)
    stream = await watch(f"/v1/jobs/{claim.id}/events")
    nasty = "</script>\r\n\r\ndata: x\n\nevent: job.completed\n\u2028"
    say(claim, "output.delta", text=nasty)
    assert (await stream.event("output.delta")).data == {"text": nasty}


async def test_the_problem_of_a_bad_query_is_one_as_everywhere(client, session, owner):
    job_id = queue_job(session, owner_id=owner.id)
    response = await client.get(f"/v1/jobs/{job_id}/events?starting_after=x")
    assert_problem(response, 422, "invalid_request")
