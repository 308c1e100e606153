"""From commit to broker when the broker refuses, hangs, forgets or is slow; no worker runs here."""

import socket
import time
from datetime import timedelta

import pytest
import redis
from sqlalchemy import text

from broker_queue import waiting_jobs
from factories import claim_job, job_row, queue_job
from holdfast import JobContext
from holdfast.celery.carrier import CeleryCarrier
from holdfast.errors import CarrierUnavailable

SOON = timedelta(seconds=60)


def enqueue(application, session):
    """Queue a job; returns its id and how long enqueue and commit took, in seconds."""
    began = time.monotonic()
    job_id = application.tasks["work"].enqueue(session).job_id
    session.commit()
    return job_id, time.monotonic() - began


def is_sent(session, job_id):
    return job_row(session, job_id)["sent_at"] is not None


def test_broker_that_refuses_delays_a_job_and_loses_none(
    make_holdfast, make_relay, session, valkey, redis_prefix
):
    url = valkey.start().redis_url
    valkey.stop()
    application = make_holdfast(redis_url=url)
    relay = make_relay(application)
    job_id, seconds = enqueue(application, session)
    assert seconds < 1
    assert application.outbox.flush(SOON)
    assert not is_sent(session, job_id)
    with pytest.raises(CarrierUnavailable):
        relay.round()
    assert not is_sent(session, job_id)

    valkey.start()
    with redis.Redis.from_url(url) as client:
        relay.round()
        assert waiting_jobs(client, redis_prefix) == [job_id]
        relay.round()
        assert waiting_jobs(client, redis_prefix) == [job_id]
    assert is_sent(session, job_id)


def test_broker_that_hangs_does_not_hold_up_enqueue(make_holdfast, session):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        application = make_holdfast(redis_url=f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        job_id, seconds = enqueue(application, session)

        assert seconds < 1
        assert application.outbox.flush(SOON)
    assert not is_sent(session, job_id)


def test_broker_that_refuses_to_count_is_unavailable(make_holdfast, redis_url, redis_prefix):
    # As it answers without a permission, or about a queue that was declared otherwise.
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{redis_prefix}default", "no list")
        with pytest.raises(CarrierUnavailable):
            CeleryCarrier(make_holdfast().celery).backlog("default")


def test_retry_is_sent_when_its_time_has_come(make_holdfast, make_relay, session, waiting):
    from holdfast.jobs import store

    application = make_holdfast()
    job_id = queue_job(session)
    claim = claim_job(session, job_id)
    error = {"code": "task_error", "message": "no", "stage": None, "attempt": 1}
    store.retry_later(session, claim, error, timedelta(hours=1))
    session.commit()
    relay = make_relay(application)
    relay.round()
    assert waiting() == []

    session.execute(text("UPDATE holdfast.jobs SET run_at = now()"))
    session.commit()
    relay.round()
    assert waiting() == [job_id]


def test_more_important_jobs_are_delivered_first(make_holdfast, session, settings):
    application = make_holdfast()
    task = application.tasks["work"]
    jobs = {priority: task.enqueue(session, priority=priority).job_id for priority in (9, 6, 3, 0)}
    session.commit()
    assert application.outbox.flush(SOON)

    with application.celery.connection_for_read() as connection:
        messages = [connection.default_channel.basic_get("default", no_ack=True) for _ in jobs]
    delivered = [message.headers["id"] for message in messages]
    assert delivered == [str(jobs[priority]) for priority in (0, 3, 6, 9)]


def test_messages_carry_no_arguments(make_holdfast, session, redis_url, redis_prefix):
    application = make_holdfast()

    def tell(job: JobContext, secret: str) -> None: ...

    application.task(tell).enqueue(session, secret="user data")
    session.commit()
    assert application.outbox.flush(SOON)
    with redis.Redis.from_url(redis_url) as client:
        kept = [
            client.lrange(key, 0, -1)
            for key in client.scan_iter(f"{redis_prefix}*")
            if client.type(key) == b"list"
        ]
    assert kept
    assert b"user data" not in str(kept).encode()
