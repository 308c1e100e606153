"""Idempotency keys: one job however often and however concurrently it is asked for."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis
from sqlalchemy import event, func, select, text, update

from broker_queue import waiting_jobs
from factories import claim_job, job_row, make_owner
from holdfast import InvalidArguments, JobContext
from holdfast.errors import IdempotencyConflict
from holdfast.jobs import store
from holdfast.jobs.models import Job
from waiting import wait_for

AT_ONCE = 100
SOON = timedelta(seconds=10)


@pytest.fixture
def task(holdfast):
    @holdfast.task
    def paint(job: JobContext, wall: int = 1) -> int:
        return wall

    return paint


@pytest.fixture
def owner(session):
    return make_owner(session)[0]


def count_jobs(session):
    session.rollback()
    return session.scalar(select(func.count()).select_from(Job))


def enqueue(session, task, **options):
    accepted = task.enqueue(session, **options)
    session.commit()
    return accepted


def test_same_request_is_given_the_same_job(session, task, owner):
    first = enqueue(session, task, owner=owner, idempotency_key="k", wall=2)
    again = enqueue(session, task, owner=owner, idempotency_key="k", wall=2)

    assert (first.created, again.created) == (True, False)
    assert again.job_id == first.job_id
    assert count_jobs(session) == 1


def test_only_the_first_request_is_published(holdfast, session, task, owner, redis_url, redis_prefix):
    first = enqueue(session, task, owner=owner, idempotency_key="k")
    enqueue(session, task, owner=owner, idempotency_key="k")

    assert holdfast.outbox.flush(SOON)
    with redis.Redis.from_url(redis_url) as client:
        assert waiting_jobs(client, redis_prefix) == [first.job_id]


def test_other_arguments_under_the_same_key_are_refused(session, task, owner):
    first = enqueue(session, task, owner=owner, idempotency_key="k", wall=2)
    with pytest.raises(IdempotencyConflict, match="24 hours"):
        task.enqueue(session, owner=owner, idempotency_key="k", wall=3)

    session.commit()
    assert job_row(session, first.job_id)["args"] == {"wall": 2}
    assert count_jobs(session) == 1


def test_options_are_not_part_of_the_request(session, task, owner):
    first = enqueue(session, task, owner=owner, idempotency_key="k", priority=1)
    again = enqueue(session, task, owner=owner, idempotency_key="k", delay=60, metadata={"again": True})
    assert again.job_id == first.job_id


def test_key_belongs_to_its_owner(session, task, owner):
    other = make_owner(session, "other")[0]
    made = [enqueue(session, task, owner=who, idempotency_key="k").job_id for who in (owner, other, None)]
    again = [enqueue(session, task, owner=who, idempotency_key="k").job_id for who in (owner, other, None)]
    assert again == made
    assert len(set(made)) == 3


def test_key_belongs_to_its_task(holdfast, session, task, owner):
    def varnish(job: JobContext, wall: int = 1) -> None: ...

    other = holdfast.task(varnish)
    assert enqueue(session, task, owner=owner, idempotency_key="k").created
    assert enqueue(session, other, owner=owner, idempotency_key="k").created


def test_failed_job_is_given_as_it_is(session, task, owner):
    first = enqueue(session, task, owner=owner, idempotency_key="k")
    store.fail(session, claim_job(session, first.job_id), {"code": "x", "message": "", "attempt": 1}, None)
    session.commit()

    again = enqueue(session, task, owner=owner, idempotency_key="k")
    assert (again.job_id, again.status, again.created) == (first.job_id, "failed", False)


@pytest.mark.parametrize(("age_hours", "is_kept"), [(23.9, True), (24.1, False)])
def test_key_is_kept_for_a_day(session, task, owner, age_hours, is_kept):
    first = enqueue(session, task, owner=owner, idempotency_key="k", wall=2)
    age = timedelta(hours=age_hours)
    session.execute(update(Job).values(created_at=Job.created_at - age, run_at=Job.run_at - age))
    session.commit()

    again = enqueue(session, task, owner=owner, idempotency_key="k", wall=2 if is_kept else 3)
    assert (again.job_id == first.job_id) == is_kept
    assert enqueue(session, task, owner=owner, idempotency_key="k", wall=2 if is_kept else 3) == (
        again.model_copy(update={"created": False})
    )


def test_key_of_a_deleted_job_is_free(session, task, owner):
    first = enqueue(session, task, owner=owner, idempotency_key="k")
    session.execute(text("DELETE FROM holdfast.jobs"))
    assert enqueue(session, task, owner=owner, idempotency_key="k").job_id != first.job_id


@pytest.mark.parametrize(
    "key", ["", "k" * 256, "k" * 10_000, "a\x00b", "Schlüssel", "a b", "a\n", "\ud800", "\x7f"]
)
def test_garbage_is_no_key(session, task, key):
    with pytest.raises(InvalidArguments, match="idempotency key"):
        task.enqueue(session, idempotency_key=key)
    assert count_jobs(session) == 0


def test_longest_key_is_taken(session, task):
    key = "".join(map(chr, range(0x21, 0x7F))) + "k" * 161
    assert enqueue(session, task, idempotency_key=key).created
    assert not enqueue(session, task, idempotency_key=key).created


def test_many_at_once_make_one_job(holdfast, session, task, owner):
    def ask(_):
        with holdfast.database.transaction() as own:
            return task.enqueue(own, owner=owner, idempotency_key="k")

    with ThreadPoolExecutor(20) as pool:
        accepted = list(pool.map(ask, range(AT_ONCE)))
    assert len({answer.job_id for answer in accepted}) == 1
    assert sum(answer.created for answer in accepted) == 1
    assert count_jobs(session) == 1


def test_many_at_once_make_one_job_of_a_key_that_is_too_old(holdfast, session, task, owner):
    old = enqueue(session, task, owner=owner, idempotency_key="k", wall=7)
    session.execute(update(Job).values(created_at=Job.created_at - timedelta(days=2)))
    session.commit()

    def ask(_):
        with holdfast.database.transaction() as own:
            return task.enqueue(own, owner=owner, idempotency_key="k")

    with ThreadPoolExecutor(20) as pool:
        accepted = list(pool.map(ask, range(AT_ONCE)))
    assert len({answer.job_id for answer in accepted} - {old.job_id}) == 1
    assert sum(answer.created for answer in accepted) == 1
    assert count_jobs(session) == 2


@pytest.mark.parametrize("commits", [True, False])
def test_second_request_waits_for_the_end_of_the_first(holdfast, session, task, owner, commits):
    first = task.enqueue(session, owner=owner, idempotency_key="k")

    def ask():
        with holdfast.database.transaction() as own:
            return task.enqueue(own, owner=owner, idempotency_key="k")

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        wait_for(lambda: is_somebody_blocked(holdfast), "the second request to wait")
        assert not asked.done()
        session.commit() if commits else session.rollback()
        second = asked.result(timeout=10)
    assert second.created is not commits
    assert (second.job_id == first.job_id) is commits
    assert count_jobs(session) == 1


def is_somebody_blocked(holdfast):
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    with holdfast.database.session() as session:
        return session.scalar(text(f"{blocked} AND datname = current_database()")) > 0


def test_key_costs_no_statement_when_it_is_new_and_one_when_it_is_known(holdfast, session, task, owner):
    sent = []
    enqueue(session, task, owner=owner)
    event.listen(holdfast.database.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))

    def statements(**options):
        sent.clear()
        task.enqueue(session, owner=owner, **options)
        return len(sent)

    assert statements() == 1
    assert "idempotency_key" not in sent[0]
    assert statements(idempotency_key="k") == 1
    assert statements(idempotency_key="k") == 2
