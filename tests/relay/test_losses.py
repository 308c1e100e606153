"""Messages that are lost are noticed and sent again; what merely waits is not."""

import pytest
import redis
from sqlalchemy import text

from broker_queue import delete_keys
from factories import WORKER, claim_job, job_row, queue_job
from holdfast.celery.carrier import CeleryCarrier
from holdfast.jobs import queues
from holdfast.jobs.delivery import waiting as what_waits
from holdfast.jobs.delivery.losses import UNSTARTED, Losses
from holdfast.jobs.delivery.unknown_tasks import UnknownTask


def is_sent(session, job_id):
    return job_row(session, job_id)["sent_at"] is not None


@pytest.fixture
def client(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def drop(client, redis_prefix):
    """Let the broker lose the messages of a job."""

    def drop(job_id):
        for key in client.scan_iter(f"{redis_prefix}*"):
            for message in client.lrange(key, 0, -1) if client.type(key) == b"list" else ():
                if str(job_id).encode() in message:
                    client.lrem(key, 0, message)

    return drop


def test_flushed_backlog_is_sent_again_at_once_and_once(
    application, make_relay, enqueue, waiting, client, redis_prefix, make_older
):
    relay = make_relay(application)
    relay.round()
    jobs = sorted(enqueue() for _ in range(5))
    make_older()
    delete_keys(client, redis_prefix)

    relay.round()
    assert waiting() == jobs
    for _ in range(3):
        relay.round()
    assert waiting() == jobs


def test_one_of_two_relays_sees_to_a_flush(
    application, make_relay, enqueue, waiting, client, redis_prefix, make_older
):
    relays = [make_relay(application), make_relay(application)]
    jobs = sorted(enqueue() for _ in range(5))
    make_older()
    delete_keys(client, redis_prefix)

    for relay in relays * 3:
        relay.round()
    assert waiting() == jobs


def test_relay_that_meets_a_broker_for_the_first_time_sends_nothing_twice(
    application, make_relay, enqueue, waiting, make_older
):
    jobs = sorted(enqueue() for _ in range(5))
    make_older()
    make_relay(application).round()

    assert waiting() == jobs


def test_flush_is_seen_to_when_the_one_who_noticed_has_died(
    application, losses, enqueue, client, redis_prefix, make_older, session
):
    job_id = enqueue()
    make_older()
    delete_keys(client, redis_prefix)
    assert CeleryCarrier(application.celery).is_blank()  # by one that did nothing more
    (sign,) = client.scan_iter(f"{redis_prefix}holdfast.sign")
    assert 0 < client.pttl(sign) <= 10_000

    client.delete(sign)  # as its time does
    assert losses.take_back() == 1
    assert not is_sent(session, job_id)


def test_backlog_that_nobody_takes_is_left_alone(losses, enqueue, waiting, make_older):
    jobs = sorted(enqueue() for _ in range(5))
    make_older()

    assert [losses.take_back() for _ in range(4)] == [0, 0, 0, 0]
    assert waiting() == jobs


def test_lost_message_is_noticed_among_others(losses, enqueue, drop, session, make_older):
    jobs = [enqueue(priority=number) for number in range(4)]
    make_older()
    drop(jobs[2])

    assert losses.take_back() == 0  # a first look may have met a job on its way
    assert losses.take_back() == 1
    assert [is_sent(session, job_id) for job_id in jobs] == [True, True, False, True]


def test_lost_message_is_noticed_while_new_ones_keep_coming(losses, enqueue, drop, session, make_older):
    lost = enqueue()
    make_older()
    drop(lost)
    for _ in range(3):
        enqueue()
    losses.take_back()
    for _ in range(3):
        enqueue()

    assert losses.take_back() == 1
    assert not is_sent(session, lost)


def test_job_whose_publisher_died_is_sent(losses, session, make_older):
    job_id = queue_job(session, task="work")  # marked as sent, and nobody ever published it
    assert losses.take_back() == 0
    make_older()

    assert [losses.take_back() for _ in range(2)] == [0, 1]
    assert not is_sent(session, job_id)


def test_job_that_starts_between_two_looks_is_left_alone(losses, session, make_older):
    job_id = queue_job(session, task="work")
    make_older()
    losses.take_back()
    claim_job(session, job_id)

    assert losses.take_back() == 0


def test_messages_of_a_paused_queue_are_not_missed(losses, session, make_older):
    queue_job(session, task="work")
    make_older()
    queues.pause(session, "default")
    session.commit()

    assert [losses.take_back() for _ in range(3)] == [0, 0, 0]


def test_all_relays_together_look_seldom(application, session, make_older):
    first, second = (Losses(application.database, CeleryCarrier(application.celery)) for _ in range(2))
    assert first.take_back() == 0  # which has left a sign
    queue_job(session, task="work")
    make_older()

    assert [first.take_back(), second.take_back(), second.take_back()] == [0, 0, 0]
    assert first.take_back() == 1  # it had looked, and looks again


def test_broker_that_shows_no_messages_is_counted(make_holdfast, session, make_older):
    application = make_holdfast(broker_url=None)
    application.celery.conf.update(broker_url="memory://", broker_transport_options={})
    carrier = CeleryCarrier(application.celery)
    losses = Losses(application.database, carrier)
    for _ in range(3):
        application.tasks["work"].enqueue(session)
    session.commit()
    assert application.outbox.flush(UNSTARTED * 2)
    queue_job(session, task="work")
    make_older()

    assert carrier.backlog("default").total == 3
    assert [losses.take_back() for _ in range(3)] == [0, 1, 0]


def test_jobs_are_counted_in_each_queue_beside_a_long_one(session, make_older):
    for queue in ["b", "a", "a", "a", "a", "c", "c"]:
        queue_job(session, queue=queue)
    make_older()
    queue_job(session, queue="d")  # sent just now

    counts = what_waits.unstarted_by_queue(session, sent_before=UNSTARTED, limit=3)
    assert counts == {"a": 3, "b": 1, "c": 2}


def test_job_of_an_unknown_task_is_put_off_for_half_its_age(application, make_relay, session, caplog):
    young, old = queue_job(session, task="gone"), queue_job(session, task="gone")
    session.execute(
        text("UPDATE holdfast.jobs SET created_at = now() - interval '40 s' WHERE id = :id"), {"id": old}
    )
    session.commit()
    unknown = make_relay(application).unknown_tasks
    for job_id in (young, old):
        unknown.note(UnknownTask(job_id, "gone", "default"))

    assert unknown.put_off() == 2
    waits = [
        (row["run_at"] - row["created_at"]).total_seconds()
        for row in (job_row(session, young), job_row(session, old))
    ]
    assert waits == [pytest.approx(5, abs=3), pytest.approx(60, abs=3)]
    assert not is_sent(session, young)
    unknown.note(UnknownTask(old, "gone", "default"))
    unknown.put_off()
    (told,) = [record.message for record in caplog.records if "gone" in record.message]
    assert "Jobs of task 'gone' come from queue 'default'" in told


def test_job_of_an_unknown_task_that_another_worker_runs_is_left_alone(application, make_relay, session):
    job_id = queue_job(session)
    claim_job(session, job_id)
    unknown = make_relay(application).unknown_tasks
    unknown.note(UnknownTask(job_id, "work", "default"))

    assert unknown.put_off() == 0
    assert job_row(session, job_id)["worker"] == WORKER
