"""What a process tells through Redis, and what it does while that is away."""

import json
import socket
import time
from itertools import count

import orjson
import pytest
import redis

from holdfast.jobs import events
from holdfast.jobs.events import LiveEvent
from holdfast.jobs.ids import new_id
from holdfast.jobs.store import Claim
from holdfast.live import EventWriter
from holdfast.live.event_writer import MOST_EVENTS, merged
from waiting import wait_for


@pytest.fixture
def writer(redis_url, redis_prefix):
    return EventWriter(lambda: redis_url, redis_prefix)


@pytest.fixture
def client(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def stored(client, redis_prefix):
    """The entries of a job's stream: id, name and data."""

    def stored(job_id):
        entries = client.xrange(f"{redis_prefix}events:{job_id}")
        return [(entry_id.decode(), *told(fields[b"event"])[1:]) for entry_id, fields in entries]

    return stored


def told(payload):
    event_id, name, data = payload.split(b" ", 2)
    return int(event_id), name.decode(), json.loads(data)


def claimed(attempt=1, job_id=None, owner_id=None):
    return Claim(job_id or new_id(), attempt, "work", {}, 0, 4, owner_id)


def emission(claim, numbers, name, **data):
    return LiveEvent(claim, numbers, name, data, events.encode_data(data))


def test_events_are_numbered_in_their_order(writer, stored):
    claim, numbers = claimed(attempt=2), count(1)
    for name in ("usage", "stage.read", "usage"):
        writer.emit(emission(claim, numbers, name, tokens=3))
    writer.flush()
    assert stored(claim.id) == [
        ("2-1", "usage", {"tokens": 3}),
        ("2-2", "stage.read", {"tokens": 3}),
        ("2-3", "usage", {"tokens": 3}),
    ]


def test_events_are_published_with_their_ids_and_expire(writer, client, redis_prefix):
    claim, numbers = claimed(), count(1)
    channel = f"{redis_prefix}events:{claim.id}"
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(channel)
        listener.get_message(timeout=1)
        writer.emit(emission(claim, numbers, "usage", tokens=3))
        message = wait_for(lambda: listener.get_message(timeout=0.1), "the event")
    assert told(message["data"]) == (1_000_000_001, "usage", {"tokens": 3})
    assert 3500 < client.ttl(channel) <= 3600


def test_text_that_follows_is_put_together():
    claim, other, numbers = claimed(), claimed(), count(1)
    given = [
        emission(claim, numbers, "output.delta", text="Kelp "),
        emission(other, numbers, "output.delta", text="Sand"),
        emission(claim, numbers, "output.delta", text="grows."),
        emission(claim, numbers, "usage", tokens=3),
        emission(claim, numbers, "output.delta", text="Fast."),
        emission(claim, numbers, "output.delta", text="Slow.", choice=1),
    ]
    assert [(event.claim.id, json.loads(event.encoded)) for event in merged(given)] == [
        (claim.id, {"text": "Kelp grows."}),
        (other.id, {"text": "Sand"}),
        (claim.id, {"tokens": 3}),
        (claim.id, {"text": "Fast."}),
        (claim.id, {"text": "Slow.", "choice": 1}),
    ]


def test_text_is_put_together_up_to_the_size_of_an_event():
    claim, numbers = claimed(), count(1)
    given = [emission(claim, numbers, "output.delta", text="x" * 6_000) for _ in range(5)]
    sizes = [len(event.encoded) for event in merged(given)]
    assert len(sizes) == 3
    assert max(sizes) <= events.MAX_DATA_BYTES


def test_an_attempt_that_another_has_followed_is_not_kept(writer, stored):
    first, second = claimed(1), None
    second = claimed(2, first.id)
    writer.emit(emission(second, count(1), "usage", tokens=2))
    writer.emit(emission(first, count(1), "usage", tokens=1))
    writer.flush()
    assert stored(first.id) == [("2-1", "usage", {"tokens": 2})]


def test_news_of_many_jobs_are_few_messages(writer, client, redis_prefix):
    claims = [claimed(owner_id=new_id()) for _ in range(200)]
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(f"{redis_prefix}news")
        listener.get_message(timeout=1)
        for claim in claims:
            writer.tell(claim, events.COMPLETED)
        writer.look_at([claims[0].id])
        news, messages = [], 0
        while len(news) < 201:
            message = wait_for(lambda: listener.get_message(timeout=0.1), "news")
            news += orjson.loads(message["data"])
            messages += 1
    assert messages <= 5
    assert news[:200] == [
        [str(claim.id), str(claim.owner_id), "work", "job.completed", 1] for claim in claims
    ]
    assert news[200] == [str(claims[0].id), None, None, None, None]


def test_a_redis_that_hangs_is_waited_for_once_and_shortly(redis_prefix):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        writer = EventWriter(lambda: f"redis://127.0.0.1:{listener.getsockname()[1]}/0", redis_prefix)
        claim, numbers = claimed(), count(1)
        began = time.monotonic()
        for _ in range(5):
            writer.emit(emission(claim, numbers, "usage", tokens=1))
            writer.flush()
        assert time.monotonic() - began < 2.5


def test_what_was_lost_while_redis_was_away_leaves_a_gap(writer, stored):
    claim, numbers = claimed(), count(1)
    writer.emit(emission(claim, numbers, "usage", tokens=1))
    writer.flush()
    writing = writer._writing.get()
    writing._away_until = time.monotonic() + 60
    writer.emit(emission(claim, numbers, "usage", tokens=2))
    writer.flush()
    writing._away_until = 0
    writer.emit(emission(claim, numbers, "usage", tokens=3))
    writer.flush()
    assert [entry[0] for entry in stored(claim.id)] == ["1-1", "1-3"]


def test_more_than_can_be_told_is_dropped_and_not_kept(redis_prefix):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        writer = EventWriter(lambda: f"redis://127.0.0.1:{listener.getsockname()[1]}/0", redis_prefix)
        claim, numbers = claimed(), count(1)
        event = emission(claim, numbers, "usage", tokens=1)
        for _ in range(3 * MOST_EVENTS):
            writer.emit(event)
        assert len(writer._writing.get()._events) <= MOST_EVENTS
