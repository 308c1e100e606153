"""An application and its relay, and what waits in the broker; no worker runs here."""

from datetime import timedelta

import pytest
import redis
from sqlalchemy import text

from broker_queue import waiting_jobs
from holdfast import Holdfast, JobContext
from holdfast.celery.carrier import CeleryCarrier
from holdfast.engines import EmbeddedEngines
from holdfast.jobs.delivery.losses import Losses
from holdfast.jobs.delivery.relay import Relay

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
    """An application with a task `work`, on another broker if need be."""
    made = []

    def make(**changes):
        application = Holdfast(settings.model_copy(update=changes))
        made.append(application)
        application.task(work)
        return application

    yield make
    for application in made:
        application.database.close()


@pytest.fixture
def application(make_holdfast):
    return make_holdfast()


@pytest.fixture
def make_relay():
    """The relay of an application; it fills a small window if asked."""

    def make(application, **options):
        carrier = CeleryCarrier(application.celery)
        return Relay(application.database, carrier, knows=application.tasks.names, **options)

    return make


@pytest.fixture
def losses(application, look):
    """What finds lost messages, in a broker that it knows and may look at closely whenever it is asked."""
    losses = Losses(application.database, CeleryCarrier(application.celery))
    losses.take_back()

    class Looking:
        def take_back(self):
            look()
            return losses.take_back()

    return Looking()


@pytest.fixture
def look(redis_url, redis_prefix):
    """Forget that a relay has looked a moment ago."""
    with redis.Redis.from_url(redis_url) as client:
        yield lambda: client.delete(f"{redis_prefix}holdfast.look")


@pytest.fixture
def enqueue(application, session):
    """Queue a job and have it published; returns its id."""

    def enqueue(**options):
        job_id = application.tasks["work"].enqueue(session, **options).job_id
        session.commit()
        assert application.outbox.flush(SOON)
        return job_id

    return enqueue


@pytest.fixture
def insert_jobs(session):
    """Queue many jobs past the engine, due one after the other in the order of their ids; none is sent."""

    def insert(count, *, queue="default", priority=5):
        session.execute(
            text(
                "INSERT INTO holdfast.jobs"
                " (id, task, queue, priority, args, max_attempts, run_at, created_at)"
                " SELECT"
                "   CAST(lpad(to_hex(CAST(:priority AS int)), 8, '0')"
                "     || lpad(to_hex(number), 24, '0') AS uuid),"
                "   'work', :queue, CAST(:priority AS int), '{}', 4, early + number * interval '1 ms', early"
                " FROM generate_series(1, :count) AS number, (SELECT now() - interval '1 day' AS early)"
            ),
            {"count": count, "queue": queue, "priority": priority},
        )
        session.commit()

    return insert


@pytest.fixture
def make_older(session):
    """Let every message seem to have been sent long ago."""

    def make_older():
        session.execute(text("UPDATE holdfast.jobs SET sent_at = sent_at - interval '1 hour'"))
        session.commit()

    return make_older


@pytest.fixture
def waiting(redis_url, redis_prefix):
    """The ids of the jobs whose messages wait, sorted."""
    with redis.Redis.from_url(redis_url) as client:
        yield lambda: waiting_jobs(client, redis_prefix)


@pytest.fixture
def receive(application):
    """Take the next messages of the queue, as a worker does; returns their jobs' ids."""

    def receive(count, queue="default"):
        with application.celery.connection_for_read() as connection:
            channel = connection.default_channel
            messages = [channel.basic_get(queue, no_ack=True) for _ in range(count)]
        return [message.headers["id"] for message in messages if message is not None]

    return receive
