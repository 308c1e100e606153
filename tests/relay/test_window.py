"""A backlog waits in PostgreSQL: the broker holds a window of each queue, filled in order."""

from datetime import UTC, datetime, timedelta

import pytest
import redis
from sqlalchemy import text

from factories import RAN_OUT, job_row, queue_job, start_job
from holdfast.errors import CarrierUnavailable
from holdfast.jobs import leases, queues, workers
from holdfast.jobs.delivery.gauge import Gauge
from holdfast.jobs.delivery.waiting import Backlog
from holdfast.jobs.workers import WorkerFacts
from waiting import wait_for


def feed_all(relay):
    while relay.round():
        pass


def sent_jobs(session):
    session.rollback()
    query = text("SELECT id FROM holdfast.jobs WHERE sent_at IS NOT NULL ORDER BY id")
    return list(session.execute(query).scalars())


def test_backlog_is_fed_up_to_the_window_and_no_further(
    application, make_relay, insert_jobs, waiting, session
):
    insert_jobs(3_000)
    relay = make_relay(application, window=1_200)
    feed_all(relay)

    assert len(waiting()) == 1_200
    assert waiting() == sent_jobs(session)
    feed_all(relay)
    assert len(waiting()) == 1_200


def test_room_that_workers_make_is_filled_with_what_was_due_next(
    application, make_relay, insert_jobs, waiting, receive, session
):
    insert_jobs(100)
    relay = make_relay(application, window=10)
    feed_all(relay)
    first = receive(4)
    for job_id in first:
        session.execute(
            text("UPDATE holdfast.jobs SET status = 'cancelled', completed_at = now() WHERE id = :id"),
            {"id": job_id},
        )
    session.commit()
    feed_all(relay)

    due = [f"{5:08x}{number:024x}" for number in range(1, 15)]
    assert [job_id.replace("-", "") for job_id in first] == due[:4]
    assert [job_id.hex for job_id in waiting()] == due[4:]


def test_two_relays_do_not_fill_the_window_twice(application, make_relay, insert_jobs, waiting):
    insert_jobs(500)
    first, second = make_relay(application, window=100), make_relay(application, window=100)
    for _ in range(3):
        first.round()
        second.round()

    assert len(waiting()) == 100


def test_messages_of_jobs_that_have_ended_take_room_as_well(
    application, make_relay, insert_jobs, waiting, session
):
    insert_jobs(50)
    relay = make_relay(application, window=20)
    feed_all(relay)
    session.execute(
        text("UPDATE holdfast.jobs SET status = 'cancelled', completed_at = now() WHERE sent_at IS NOT NULL")
    )
    session.commit()
    feed_all(relay)

    assert len(waiting()) == 20


def test_more_important_jobs_find_room_beside_a_backlog(application, make_relay, insert_jobs, receive):
    relay = make_relay(application, window=10)
    insert_jobs(50, priority=5)
    feed_all(relay)
    insert_jobs(50, priority=9)
    insert_jobs(3, priority=0)
    feed_all(relay)

    assert [int(job_id[:8]) for job_id in receive(20)] == [0] * 3 + [5] * 10


def test_priorities_are_honoured_within_a_backlog(application, make_relay, insert_jobs, receive):
    for priority in (7, 4, 3, 6):
        insert_jobs(5, priority=priority)
    feed_all(make_relay(application, window=12))

    assert [int(job_id[:8]) for job_id in receive(20)] == [3] * 5 + [4] * 5 + [6] * 2


def test_each_queue_has_a_window_of_its_own(application, make_relay, insert_jobs, waiting, session):
    insert_jobs(50, queue="a", priority=1)
    insert_jobs(50, queue="b", priority=2)
    feed_all(make_relay(application, window=10))

    assert [job_id.hex[:8] for job_id in waiting()] == ["00000001"] * 10 + ["00000002"] * 10


def test_job_that_lost_its_worker_goes_first_and_needs_no_room(
    application, make_relay, insert_jobs, receive, session
):
    lost = start_job(session, task="work", priority=9, lease=RAN_OUT)
    relay = make_relay(application, window=10)
    insert_jobs(30)
    insert_jobs(30, priority=9)
    feed_all(relay)
    leases.rescue_expired(session, limit=10)
    session.commit()
    feed_all(relay)

    assert receive(1) == [str(lost.id)]


def test_far_jobs_are_not_read_for_those_that_are_due(application, make_relay, insert_jobs, waiting, session):
    insert_jobs(20)
    session.execute(text("UPDATE holdfast.jobs SET run_at = now() + interval '1 day'"))
    session.commit()
    due = queue_job(session, sent=False, task="work", delay=timedelta(0))
    feed_all(make_relay(application))

    assert waiting() == [due]


def test_enqueue_leaves_jobs_to_the_relay_while_the_queue_is_full(
    application, make_relay, enqueue, insert_jobs, waiting, session
):
    insert_jobs(2_000)
    feed_all(make_relay(application))

    def is_left():
        return job_row(session, enqueue())["sent_at"] is None

    wait_for(is_left, "a job that is not sent, as the publisher has seen the backlog")
    before = waiting()
    assert is_left()
    assert waiting() == before
    assert job_row(session, enqueue(priority=0))["sent_at"] is not None


def test_long_transaction_does_not_fill_the_broker(application, session, waiting):
    for _ in range(700):
        application.tasks["work"].enqueue(session)
    session.commit()
    assert application.outbox.flush(timedelta(seconds=60))

    assert len(waiting()) == 500
    assert waiting() == sent_jobs(session)


def test_paused_queue_is_not_fed_and_a_resumed_one_is(
    application, make_relay, enqueue, waiting, session, receive
):
    relay = make_relay(application)
    queues.pause(session, "default")
    session.commit()
    job_id = enqueue()
    feed_all(relay)
    assert job_row(session, job_id)["sent_at"] is None
    receive(len(waiting()))

    queues.resume(session, "default")
    session.commit()
    feed_all(relay)
    assert waiting() == [job_id]


def test_broker_that_takes_nothing_is_tried_with_one_job(
    make_holdfast, make_relay, insert_jobs, valkey, session
):
    url = valkey.start().redis_url
    application = make_holdfast(redis_url=url)
    relay = make_relay(application)
    relay.round()
    insert_jobs(100)
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(CarrierUnavailable):
            relay.feed()
        assert sent_jobs(session) == []
        versions = row_versions(session)
        for _ in range(3):
            with pytest.raises(CarrierUnavailable):
                relay.feed()
        assert len(versions - row_versions(session)) == 1
        client.config_set("maxmemory", 0)
        feed_all(relay)
    assert len(sent_jobs(session)) == 100


def row_versions(session):
    session.rollback()
    return set(session.execute(text("SELECT id, xmin::text FROM holdfast.jobs")).all())


class TestGauge:
    """What a process that enqueues knows of the broker."""

    @pytest.fixture
    def clock(self):
        class Clock:
            now = 100.0

            def __call__(self):
                return self.now

        return Clock()

    @pytest.fixture
    def gauge(self, clock):
        return Gauge(window=10, clock=clock)

    def admitted(self, gauge, priority=5):
        return sum(gauge.admit("q", priority) for _ in range(100))

    def test_it_counts_what_it_admits(self, gauge):
        assert self.admitted(gauge) == 10
        assert self.admitted(gauge, priority=4) == 10
        assert self.admitted(gauge, priority=9) == 0

    def test_it_believes_what_it_is_told(self, gauge):
        gauge.tell("q", Backlog({5: 7}))
        assert self.admitted(gauge) == 3

    def test_full_queue_has_room_again_when_half_of_it_is_empty(self, gauge):
        gauge.tell("q", Backlog({5: 10}))
        gauge.tell("q", Backlog({5: 5}))
        assert self.admitted(gauge) == 0
        gauge.tell("q", Backlog({5: 4}))
        assert self.admitted(gauge) == 6

    def test_nothing_is_admitted_while_the_broker_is_away(self, gauge, clock):
        gauge.tell("q", None)
        clock.now += 100
        assert self.admitted(gauge, priority=0) == 0
        gauge.tell("q", Backlog({}))
        assert self.admitted(gauge) == 10

    def test_it_does_not_believe_for_long(self, gauge, clock):
        gauge.tell("q", Backlog({5: 10}))
        clock.now += 6
        assert self.admitted(gauge) == 10

    def test_the_broker_is_asked_seldom_and_by_one(self, gauge, clock):
        assert gauge.ask("q")
        assert not gauge.ask("q")
        gauge.tell("q", Backlog({}))
        assert not gauge.ask("q")
        clock.now += 0.3
        assert gauge.ask("q")


def say_alive(session, name, *, pulls=()):
    facts = WorkerFacts("elsewhere", 1, "asyncio", 10, ["default"], 0, is_consuming=True, pulls=pulls)
    workers.say_alive(session, name, facts)
    session.commit()


def test_queue_whose_workers_take_the_backlog_themselves_is_fed_nothing(
    application, make_relay, insert_jobs, waiting, session
):
    told = []
    relay = make_relay(application, on_backlog=told.append)
    insert_jobs(30)
    insert_jobs(5, queue="other", priority=6)
    say_alive(session, "puller", pulls=["default"])

    feed_all(relay)
    assert len(waiting()) == 5, "those of the other queue"
    assert waiting() == sent_jobs(session)
    assert told
    assert set(map(frozenset, told)) == {frozenset({"default"})}


def test_jobs_of_a_task_that_nobody_knows_are_sent_where_workers_take_the_backlog_themselves(
    application, make_relay, insert_jobs, waiting, session
):
    insert_jobs(30)
    a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)
    unknown = queue_job(session, task="unheard_of", sent=False, run_at=a_minute_ago)
    queue_job(session, task="new", sent=False)  # somebody who knows it may be about to take it
    say_alive(session, "puller", pulls=["default"])

    feed_all(make_relay(application))
    assert waiting() == sent_jobs(session) == [unknown]


@pytest.mark.parametrize("silent", [False, True])
def test_queue_is_fed_for_a_worker_that_needs_messages(
    application, make_relay, insert_jobs, waiting, session, silent
):
    insert_jobs(30)
    say_alive(session, "puller", pulls=["default"])
    if silent:  # nobody is left that could be counted on
        session.execute(text("UPDATE holdfast.workers SET heartbeat_at = now() - interval '1 minute'"))
        session.commit()
    else:
        say_alive(session, "prefork")

    feed_all(make_relay(application))
    assert len(waiting()) == 30


def test_workers_that_take_the_backlog_are_told_of_it_while_the_broker_is_away(
    make_holdfast, make_relay, insert_jobs, session
):
    told = []
    relay = make_relay(make_holdfast(redis_url="redis://127.0.0.1:1/0"), on_backlog=told.append)
    insert_jobs(3)
    say_alive(session, "puller", pulls=["default"])

    with pytest.raises(CarrierUnavailable):
        relay.round()
    assert told == [{"default"}]
