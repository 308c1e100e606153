"""Batches: all jobs or none, in order, counted and cancelled together."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import redis
from sqlalchemy import event, func, select

from broker_queue import waiting_jobs
from factories import job_row, make_owner
from holdfast import InvalidArguments, JobContext
from holdfast.errors import IdempotencyConflict
from holdfast.jobs.batches import HANDED_OVER, MAX_JOBS, NewItem
from holdfast.jobs.models import Batch, Job
from holdfast.jobs.options import JobOptions

SOON = timedelta(seconds=10)


@pytest.fixture
def task(holdfast):
    @holdfast.task(queue="walls", retries=1)
    def paint(job: JobContext, wall: int, colour: str = "red") -> int:
        return wall

    return paint


@pytest.fixture
def owner(session):
    return make_owner(session)[0]


def walls(count):
    return [{"wall": number} for number in range(count)]


def enqueue_many(session, task, arguments, **options):
    accepted = task.enqueue_many(session, arguments, **options)
    session.commit()
    return accepted


def count(session, model):
    session.rollback()
    return session.scalar(select(func.count()).select_from(model))


def test_jobs_are_written_in_order_and_alike(session, task, owner):
    accepted = enqueue_many(session, task, walls(3), owner=owner, priority=2, metadata={"house": 7})

    rows = [job_row(session, job_id) for job_id in accepted.job_ids]
    assert [row["args"] for row in rows] == walls(3)
    assert accepted.job_ids == sorted(accepted.job_ids)
    own = ("id", "args")
    alike = [{name: value for name, value in row.items() if name not in own} for row in rows]
    assert alike[1:] == alike[:1] * 2
    assert (alike[0]["queue"], alike[0]["priority"], alike[0]["max_attempts"]) == ("walls", 2, 2)
    assert (alike[0]["owner_id"], alike[0]["batch_id"]) == (owner.id, accepted.batch_id)
    batch = session.get(Batch, accepted.batch_id)
    assert (batch.total, batch.owner_id, batch.metadata_) == (3, owner.id, {"house": 7})


def test_options_hold_for_each_job(session, task):
    limits = {"timeout": 30, "deadline": timedelta(minutes=5), "start_by": 60.5}
    accepted = enqueue_many(session, task, walls(3), delay=10, **limits)

    for job_id in accepted.job_ids:
        row = job_row(session, job_id)
        from_now = {name: row[name] - row["created_at"] for name in ("run_at", "deadline", "start_by")}
        assert from_now == {
            "run_at": timedelta(seconds=10),
            "deadline": timedelta(minutes=5),
            "start_by": timedelta(seconds=60.5),
        }
        assert (row["timeout"], row["sent_at"]) == (timedelta(seconds=30), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout is more than 0"),
        ({"deadline": 5, "delay": 10}, "deadline is over before the job may start"),
        ({"delay": 1, "run_at": datetime.now(UTC)}, "not both"),
        ({"priority": 10}, "priority is 0"),
    ],
)
def test_options_that_cannot_be_are_refused(session, task, options, message):
    with pytest.raises(InvalidArguments, match=message):
        task.enqueue_many(session, walls(2), **options)


def test_batch_of_one_is_a_batch(session, task):
    accepted = enqueue_many(session, task, walls(1))
    assert job_row(session, accepted.job_ids[0])["batch_id"] == accepted.batch_id


def test_rolled_back_batch_does_not_exist(holdfast, session, task):
    task.enqueue_many(session, walls(3))
    session.rollback()
    assert (count(session, Job), count(session, Batch)) == (0, 0)


def test_async_session_writes_a_batch(holdfast, session, task):
    async def enqueue():
        async with holdfast.database.async_session() as own:
            accepted = await task.enqueue_many(own, walls(3))
            await own.commit()
        await holdfast.database.aclose()
        return accepted

    assert asyncio.run(enqueue()).total == count(session, Job) == 3


@pytest.mark.parametrize("arguments", [[], walls(MAX_JOBS + 1)])
def test_batch_of_no_job_or_of_too_many_is_refused(session, task, arguments):
    with pytest.raises(InvalidArguments, match="1 to 10,000"):
        task.enqueue_many(session, arguments)


@pytest.mark.parametrize("number", [0, 7, 1234])
def test_bad_item_is_named_and_nothing_is_written(session, task, number):
    with pytest.raises(InvalidArguments, match=rf"^Job {number} of the batch: paint: wall: ") as refused:
        task.enqueue_many(session, [*walls(number), {"wall": "north"}, *walls(2), {"wall": "south"}])

    assert [misfit.location for misfit in refused.value.arguments] == [(str(number), "args", "wall")]
    session.commit()
    assert (count(session, Job), count(session, Batch)) == (0, 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (NewItem({"wall": 2}, {"a": "\x00"}), "metadata: not storable"),
        (NewItem({"wall": 2}, {"a": float("nan")}), "metadata: not storable"),
        (NewItem({"wall": 2, "colour": "\x00"}), "paint: not storable"),
        (NewItem({"wall": 2, "colour": "\ud800"}), "paint: not storable"),
    ],
)
def test_item_that_cannot_be_stored_is_named(task, bad, message):
    items = [NewItem({"wall": 1})] * 150 + [bad, NewItem({"wall": 3})]
    with pytest.raises(InvalidArguments, match=f"Job 150 of the batch: {message}"):
        task.new_batch(items, JobOptions())


def test_items_keep_metadata_of_their_own(session, task):
    items = [NewItem({"wall": 1}, {"n": 1}), NewItem({"wall": 2}), NewItem({"wall": 3}, {"n": 3})]
    accepted = task.submit_batch(session, task.new_batch(items, JobOptions()))
    session.commit()
    assert [job_row(session, job_id)["metadata_"] for job_id in accepted.job_ids] == [{"n": 1}, {}, {"n": 3}]


@pytest.mark.parametrize("colour", ["\\u0000", "\"';--", "\u2028 é 😀", "\\", "a" * 100_000])
def test_arguments_come_through_whole(session, task, colour):
    accepted = enqueue_many(session, task, [{"wall": n, "colour": colour} for n in range(2)])
    assert [job_row(session, job_id)["args"]["colour"] for job_id in accepted.job_ids] == [colour] * 2


def test_largest_batch_takes_few_statements_and_leaves_most_to_the_relay(
    holdfast, session, task, redis_url, redis_prefix
):
    sent = []
    event.listen(holdfast.database.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    accepted = enqueue_many(session, task, walls(MAX_JOBS))

    assert len(sent) == 4
    assert count(session, Job) == MAX_JOBS
    assert session.scalar(select(func.count(Job.sent_at))) == HANDED_OVER
    assert holdfast.outbox.flush(SOON)
    with redis.Redis.from_url(redis_url) as client:
        assert sorted(waiting_jobs(client, redis_prefix)) == accepted.job_ids[:HANDED_OVER]


def test_batch_for_a_queue_without_room_is_left_to_the_relay(holdfast, session, task):
    gauge = holdfast.outbox._gauge.get()
    gauge.tell("walls", None)  # the broker is away
    accepted = enqueue_many(session, task, walls(3))
    assert [job_row(session, job_id)["sent_at"] for job_id in accepted.job_ids] == [None] * 3


def test_jobs_of_one_transaction_are_handed_over_up_to_a_limit(session, task):
    task.enqueue_many(session, walls(HANDED_OVER - 1))
    task.enqueue_many(session, walls(3))
    session.commit()
    assert session.scalar(select(func.count(Job.sent_at))) == HANDED_OVER


def test_same_batch_under_one_key_is_made_once(session, task, owner):
    first = enqueue_many(session, task, walls(3), owner=owner, idempotency_key="k")
    again = enqueue_many(session, task, walls(3), owner=owner, idempotency_key="k")

    assert again == first.model_copy(update={"created": False})
    assert (count(session, Job), count(session, Batch)) == (3, 1)


def test_another_batch_or_job_under_the_same_key_is_refused(session, task, owner):
    enqueue_many(session, task, walls(3), owner=owner, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        task.enqueue_many(session, walls(4), owner=owner, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        task.enqueue(session, owner=owner, idempotency_key="k", wall=0)
    session.commit()
    assert (count(session, Job), count(session, Batch)) == (3, 1)


def test_many_at_once_make_one_batch(holdfast, session, task, owner):
    def ask(_):
        with holdfast.database.transaction() as own:
            return task.enqueue_many(own, walls(20), owner=owner, idempotency_key="k")

    with ThreadPoolExecutor(10) as pool:
        accepted = list(pool.map(ask, range(30)))
    assert len({tuple(answer.job_ids) for answer in accepted}) == 1
    assert sum(answer.created for answer in accepted) == 1
    assert (count(session, Job), count(session, Batch)) == (20, 1)
