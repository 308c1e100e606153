"""From commit to broker when the broker refuses, hangs, forgets or is slow; no worker runs here."""

import socket
import time
from datetime import timedelta

import pytest
import redis
from sqlalchemy import text

from broker_queue import waiting_jobs
from factories import claim_job, job_row, queue_job
from holdfast import Holdfast, JobContext
from holdfast.celery.carrier import CeleryCarrier
from holdfast.engines import EmbeddedEngines
from holdfast.errors import CarrierUnavailable
from holdfast.jobs import queries
from holdfast.jobs.relay import BATCH, UNSTARTED, Relay

SOON = timedelta(seconds=60)


def work(job: JobContext) -> None: ...


@pytest.fixture
def valkey(tmp_path):
    """A Valkey of the test's own, which it may stop and start."""
    engines = EmbeddedEngines(tmp_path / "valkey", postgres=False)
    yield engines
    engines.stop()


@pytest.fixture
def make_holdfast(settings):
    """An application on another broker, with its task, its relay and a way to see what waits."""
    made = []

    def make(redis_url=settings.redis_url):
        application = Holdfast(settings.model_copy(update={"redis_url": redis_url}))
        made.append(application)
        application.task(work)
        return application

    yield make
    for application in made:
        application.database.close()


def relay_of(application):
    return Relay(application.database, CeleryCarrier(application.celery))


def enqueue(application, session):
    """Queue a job; returns its id and how long enqueue and commit took, in seconds."""
    began = time.monotonic()
    job_id = application.tasks["work"].enqueue(session).job_id
    session.commit()
    return job_id, time.monotonic() - began


def is_sent(session, job_id):
    return job_row(session, job_id)["sent_at"] is not None


def make_older(session):
    """Let every message seem to have been sent long ago."""
    session.execute(text("UPDATE holdfast.jobs SET sent_at = sent_at - interval '1 minute'"))
    session.commit()


@pytest.fixture
def waiting(redis_url, redis_prefix):
    with redis.Redis.from_url(redis_url) as client:
        yield lambda: waiting_jobs(client, redis_prefix)


def test_broker_that_refuses_delays_a_job_and_loses_none(make_holdfast, session, valkey, redis_prefix):
    url = valkey.start().redis_url
    valkey.stop()
    application = make_holdfast(url)
    relay = relay_of(application)
    job_id, seconds = enqueue(application, session)
    assert seconds < 1
    assert application.outbox.flush(SOON)
    assert not is_sent(session, job_id)
    with pytest.raises(CarrierUnavailable):
        relay.send_due()
    assert not is_sent(session, job_id)

    valkey.start()
    with redis.Redis.from_url(url) as client:
        assert relay.send_due() == 1
        assert waiting_jobs(client, redis_prefix) == [job_id]
    assert is_sent(session, job_id)
    assert relay.send_due() == 0


def test_broker_that_hangs_does_not_hold_up_enqueue(make_holdfast, session):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        application = make_holdfast(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
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


def test_jobs_the_broker_forgot_are_sent_again(make_holdfast, session, redis_url, redis_prefix, waiting):
    application = make_holdfast()
    jobs = sorted(enqueue(application, session)[0] for _ in range(3))
    assert application.outbox.flush(SOON)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*client.scan_iter(f"{redis_prefix}*"))
    make_older(session)

    relay = relay_of(application)
    assert relay.resend_lost() == 0  # a first look may have met jobs on their way
    assert relay.resend_lost() == 3
    assert waiting() == jobs


def test_job_whose_publisher_died_is_sent(make_holdfast, session, waiting):
    application = make_holdfast()
    job_id = queue_job(session)  # marked as sent, and nobody ever published it
    make_older(session)

    relay = relay_of(application)
    relay.resend_lost()
    relay.resend_lost()
    assert waiting() == [job_id]


def test_relay_leaves_a_backlog_alone(make_holdfast, session, waiting):
    application = make_holdfast()
    jobs = [enqueue(application, session)[0] for _ in range(5)]
    assert application.outbox.flush(SOON)
    make_older(session)

    relay = relay_of(application)
    assert [relay.resend_lost() for _ in range(3)] == [0, 0, 0]
    assert relay.send_due() == 0
    assert waiting() == sorted(jobs)


def test_relay_leaves_alone_a_backlog_longer_than_it_counts(make_holdfast, session, waiting):
    application = make_holdfast()
    session.execute(
        text(
            "INSERT INTO holdfast.jobs (id, task, queue, priority, args, max_attempts)"
            " SELECT gen_random_uuid(), 'work', 'default', 5, '{}', 4 FROM generate_series(1, :rows)"
        ),
        {"rows": BATCH + 200},
    )
    session.commit()
    relay = relay_of(application)
    assert relay.send_due() + relay.send_due() == BATCH + 200
    make_older(session)

    assert [relay.resend_lost() for _ in range(3)] == [0, 0, 0]
    assert len(waiting()) == BATCH + 200


def test_jobs_are_counted_in_each_queue_beside_a_long_one(session):
    for queue in ["b", "a", "a", "a", "a", "c", "c"]:
        queue_job(session, queue=queue)
    make_older(session)
    queue_job(session, queue="d")  # sent just now

    counts = queries.unstarted_by_queue(session, sent_before=UNSTARTED, limit=3)
    assert counts == {"a": 3, "b": 1, "c": 2}


def test_only_as_many_messages_as_are_missing_are_sent_again(
    make_holdfast, session, redis_url, redis_prefix, waiting
):
    application = make_holdfast()
    jobs = [enqueue(application, session)[0] for _ in range(4)]
    assert application.outbox.flush(SOON)
    with redis.Redis.from_url(redis_url) as client:
        (queue,) = [key for key in client.scan_iter(f"{redis_prefix}*") if client.type(key) == b"list"]
        client.rpop(queue)
    make_older(session)

    relay = relay_of(application)
    assert [relay.resend_lost() for _ in range(4)] == [0, 1, 0, 0]
    assert len(waiting()) == len(jobs)


def test_retry_is_sent_when_its_time_has_come(make_holdfast, session, waiting):
    from holdfast.jobs import store

    application = make_holdfast()
    job_id = queue_job(session)
    claim = claim_job(session, job_id)
    error = {"code": "task_error", "message": "no", "stage": None, "attempt": 1}
    store.retry_later(session, claim, error, timedelta(hours=1))
    session.commit()
    relay = relay_of(application)
    assert relay.send_due() == 0

    session.execute(text("UPDATE holdfast.jobs SET run_at = now()"))
    session.commit()
    assert relay.send_due() == 1
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
