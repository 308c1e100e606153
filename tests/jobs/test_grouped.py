"""Many jobs written, claimed or completed at once: each by itself, whatever becomes of the others."""

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError

from factories import LEASE, PROCESS, RAN_OUT, attempt_outcomes, job_row, new_job, queue_job, start_job
from holdfast.jobs import grouped, leases, queues, store
from holdfast.jobs.database import driver_errors
from holdfast.jobs.delivery.waiting import Shelf
from holdfast.jobs.grouped import Completion, Holder
from holdfast.jobs.grouping import Grouped
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import Job

HOLDER = Holder("worker-2", PROCESS, LEASE)
SHELF = Shelf("default", 5)


def enqueue(holdfast, *jobs):
    async def enqueue():
        async with await holdfast.database.connect() as connection:
            with driver_errors():
                return await grouped.enqueue(connection, jobs)

    return asyncio.run(enqueue())


def row_since_its_creation(session, job, fixed):
    """A job's row without its id, and with times counted from its creation unless they are fixed."""
    row = job_row(session, job.id)
    created_at = row.pop("created_at")
    assert row.pop("id") == job.id
    return {
        name: value - created_at if isinstance(value, datetime) and value != fixed else value
        for name, value in row.items()
    }


def statuses(session, job_ids):
    return [job_row(session, job_id)["status"] for job_id in job_ids]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"delay": timedelta(hours=1, microseconds=5)},
        {"run_at": datetime(2031, 4, 5, 6, 7, 8, 9, tzinfo=UTC)},
        {"timeout": timedelta(seconds=90), "deadline": timedelta(days=2), "start_by": timedelta(minutes=1.5)},
        {
            "args": {"text": "\N{SNOWMAN}", "nothing": None},
            "metadata": {"a": [1]},
            "notify": {"email": "a@b.c"},
        },
        {"is_left_to_relay": True, "priority": 0, "max_attempts": 7, "max_crashes": 2},
        {"queue": "paused"},
    ],
)
def test_job_is_written_as_one_by_itself_is(holdfast, session, changes):
    queues.pause(session, "paused")
    alone, together = new_job(**changes), new_job(**changes)
    store.enqueue(session, alone)
    session.commit()
    assert enqueue(holdfast, together) == {together.id}

    one, other = (row_since_its_creation(session, job, changes.get("run_at")) for job in (alone, together))
    assert other == one


def test_of_jobs_with_the_same_key_one_is_written(holdfast, session):
    keyed = {"idempotency_key": "a-key", "request_hash": b"\x00hash\xff"}
    taken, free, again = (new_job(**keyed | {"task": task}) for task in ("one", "other", "other"))
    store.enqueue(session, replace(taken, id=new_id()))
    session.commit()
    keyless = new_job()

    assert enqueue(holdfast, taken, free, again, keyless) == {free.id, keyless.id}

    row = job_row(session, free.id)
    assert (row["idempotency_key"], bytes(row["request_hash"])) == ("a-key", b"\x00hash\xff")


def test_jobs_of_a_group_are_written_or_none_of_them(holdfast, session):
    ownerless, orphan = new_job(), new_job(owner_id=new_id())
    with pytest.raises(IntegrityError):
        enqueue(holdfast, ownerless, orphan)
    assert session.scalars(select(Job.id).where(Job.id.in_([ownerless.id, orphan.id]))).all() == []


def test_those_that_can_be_claimed_are(session):
    waiting = [queue_job(session) for _ in range(3)]
    running = start_job(session).id
    later = queue_job(session, delay=timedelta(hours=1))

    claims = grouped.claim(session, [running, *waiting, later, new_id()], HOLDER)
    session.commit()

    assert set(claims) == set(waiting)
    assert all(claims[job_id].id == job_id and claims[job_id].attempt == 1 for job_id in waiting)
    assert statuses(session, waiting) == ["processing"] * 3
    row = job_row(session, waiting[0])
    assert (row["worker"], row["process"]) == ("worker-2", PROCESS)
    assert attempt_outcomes(session, waiting[0]) == [None]


def test_claim_tells_the_same_as_one_by_itself(session):
    options = {"args": {"a": 1}, "timeout": timedelta(minutes=5), "deadline": timedelta(hours=1)}
    one, other = queue_job(session, **options), queue_job(session, **options)
    alone = store.claim(session, one, worker="w", process=1, lease=LEASE)
    session.commit()

    together = grouped.claim(session, [other], HOLDER)[other]

    for field in ("attempt", "task", "args", "failures", "max_attempts", "owner_id", "parent_id", "tick"):
        assert getattr(together, field) == getattr(alone, field)
    assert together.origin_id == other
    assert together.time_left == timedelta(minutes=5)
    assert together.ends_at_deadline is False
    assert timedelta(minutes=59) < together.deadline_left <= timedelta(hours=1)


def test_results_are_stored_as_one_by_itself_stores_them(session):
    results = [None, 0, "text", {"a": [1, None]}, 10**25, "\N{SNOWMAN}", False]
    claims = [start_job(session) for _ in results]

    assert grouped.complete(
        session, [Completion(claim, result, None) for claim, result in zip(claims, results, strict=True)]
    ) == [True] * len(results)
    session.commit()

    rows = [job_row(session, claim.id) for claim in claims]
    assert [row["result"] for row in rows] == results
    assert {(row["status"], row["worker"], row["lease_expires_at"]) for row in rows} == {
        ("completed", None, None)
    }
    assert attempt_outcomes(session, claims[0].id) == ["completed"]


def test_last_progress_is_kept_and_an_earlier_one_not_lost(session):
    with_news, without = start_job(session), start_job(session)
    store.save_progress(session, {(without.id, 1): {"current": 1}})

    grouped.complete(session, [Completion(with_news, 1, {"current": 2}), Completion(without, 1, None)])
    session.commit()

    assert job_row(session, with_news.id)["progress"] == {"current": 2}
    assert job_row(session, without.id)["progress"] == {"current": 1}


def test_stale_attempt_among_others_is_refused_alone(session):
    stale = start_job(session, lease=RAN_OUT)
    leases.rescue_expired(session, limit=10)
    live = start_job(session)

    assert grouped.complete(session, [Completion(stale, 1, None), Completion(live, 2, None)]) == [False, True]
    session.commit()

    assert statuses(session, [stale.id, live.id]) == ["queued", "completed"]


def test_group_with_one_that_cannot_be_stored_is_refused_whole(session):
    good, bad = start_job(session), start_job(session)

    with pytest.raises(DBAPIError):
        grouped.complete(
            session, [Completion(good, 1, None), Completion(replace(bad, attempt=2**40), 2, None)]
        )
    session.rollback()

    assert statuses(session, [good.id, bad.id]) == ["processing", "processing"]


def test_due_jobs_are_claimed_by_age_as_many_as_asked_for(session):
    jobs = [queue_job(session, sent=False) for _ in range(4)]
    queue_job(session)  # was sent
    queue_job(session, sent=False, delay=timedelta(hours=1))
    queue_job(session, sent=False, priority=4)

    first = grouped.claim_due(session, SHELF, ["work"], HOLDER, limit=3)
    rest = grouped.claim_due(session, SHELF, ["work"], HOLDER, limit=3)
    session.commit()

    assert [claim.id for claim in first] == jobs[:3]
    assert [claim.id for claim in rest] == jobs[3:]


def test_jobs_of_other_tasks_and_of_paused_queues_are_left(session):
    queue_job(session, sent=False, task="other")
    mine = queue_job(session, sent=False)
    assert [c.id for c in grouped.claim_due(session, SHELF, ["work"], HOLDER, limit=9)] == [mine]
    paused = queue_job(session, sent=False, queue="slow")
    queues.pause(session, "slow")

    assert grouped.claim_due(session, Shelf("slow", 5), ["work"], HOLDER, limit=9) == []
    assert statuses(session, [paused]) == ["queued"]


def test_no_deeper_look_than_asked_for(session):
    for _ in range(5):
        queue_job(session, sent=False, task="other")
    deep = queue_job(session, sent=False)

    assert grouped.claim_due(session, SHELF, ["work"], HOLDER, limit=9, depth=2) == []
    assert [c.id for c in grouped.claim_due(session, SHELF, ["work"], HOLDER, limit=9, depth=9)] == [deep]


def test_what_another_worker_is_about_to_claim_is_passed_by(session, holdfast):
    first, second = queue_job(session, sent=False), queue_job(session, sent=False)
    with holdfast.database.session() as other:
        assert [c.id for c in grouped.claim_due(other, SHELF, ["work"], HOLDER, limit=1)] == [first]
        assert [c.id for c in grouped.claim_due(session, SHELF, ["work"], HOLDER, limit=9)] == [second]
        other.rollback()


def test_items_gather_while_a_group_is_on_its_way_and_a_lone_one_goes_at_once():
    groups, begun, may_go_on = [], threading.Event(), threading.Event()

    def work(group):
        groups.append(list(group))
        begun.set()
        assert may_go_on.wait(10)
        return [item * 2 for item in group]

    async def ask_all():
        grouped_work = Grouped("doubling", work)
        first = grouped_work.ask(1)
        await asyncio.to_thread(begun.wait, 10)
        rest = [grouped_work.ask(number) for number in (2, 3, 4)]
        may_go_on.set()
        return await asyncio.gather(first, *rest)

    assert asyncio.run(ask_all()) == [2, 4, 6, 8]
    assert groups == [[1], [2, 3, 4]]


def test_error_of_a_group_reaches_all_of_it_and_the_next_goes_on():
    def work(group):
        if 1 in group:
            raise ConnectionError("as asked")
        return group

    async def ask_all():
        grouped_work = Grouped("failing", work)
        with pytest.raises(ConnectionError):
            await grouped_work.ask(1)
        return await grouped_work.ask(2)

    assert asyncio.run(ask_all()) == 2


def test_whoever_no_longer_waits_does_not_matter():
    async def ask_all():
        grouped_work = Grouped("slow", lambda group: group)
        gone = grouped_work.ask(1)
        gone.cancel()
        return await grouped_work.ask(2)

    assert asyncio.run(ask_all()) == 2
