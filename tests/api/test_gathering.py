"""Jobs that many requests ask for at once: written together, and each by itself as far as anyone can tell."""

import asyncio
from datetime import timedelta

import pytest
import redis
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from broker_queue import waiting_jobs
from factories import job_row
from holdfast import JobContext
from holdfast.api.gathering import MOST, Gathering
from holdfast.errors import IdempotencyConflict
from holdfast.jobs import grouped
from holdfast.jobs.accepted import JobAccepted
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import Job
from holdfast.jobs.options import JobOptions
from holdfast.jobs.patience import is_away

pytestmark = pytest.mark.anyio


@pytest.fixture
def task(holdfast):
    def paint(job: JobContext, wall: int) -> None:
        """Paint a wall."""

    return holdfast.task(paint)


@pytest.fixture
def written(monkeypatch):
    """How many jobs each statement wrote."""
    groups, enqueue = [], grouped.enqueue

    async def noted(connection, jobs):
        groups.append(len(jobs))
        return await enqueue(connection, jobs)

    monkeypatch.setattr(grouped, "enqueue", noted)
    return groups


@pytest.fixture
async def gathering(holdfast):
    yield (gathering := Gathering(holdfast.database))
    await gathering.aclose()
    await holdfast.database.aclose()


@pytest.fixture
def handed_over(holdfast, redis_url, redis_prefix):
    """The jobs whose messages wait in the broker."""

    def look():
        assert holdfast.outbox.flush(timedelta(seconds=30))
        with redis.Redis.from_url(redis_url) as client:
            return waiting_jobs(client, redis_prefix)

    return look


def job_of(task, owner=None, wall=1, key=None):
    return task.new_job({"wall": wall}, JobOptions(owner=owner, idempotency_key=key))


async def test_lone_job_is_written_at_once(gathering, task, session, written):
    accepted = await gathering.submit(task, job_of(task, wall=7))
    assert job_row(session, accepted.job_id)["args"] == {"wall": 7}
    assert written == [1]


async def test_what_gathers_meanwhile_is_written_together(gathering, task, session, written):
    jobs = [job_of(task, wall=wall) for wall in range(2 * MOST)]
    accepted = await asyncio.gather(*(gathering.submit(task, job) for job in jobs))
    assert [each.job_id for each in accepted] == [job.id for job in jobs]
    rows = dict(session.execute(select(Job.id, Job.args).where(Job.id.in_([job.id for job in jobs]))).all())
    assert [rows[job.id] for job in jobs] == [{"wall": wall} for wall in range(2 * MOST)]
    assert written == [MOST, MOST]


async def test_jobs_are_handed_over_when_they_are_written(gathering, task, session, handed_over):
    job = job_of(task)
    await gathering.submit(task, job)
    await asyncio.sleep(0)  # after its answer
    assert handed_over() == [job.id]
    assert job_row(session, job.id)["sent_at"] is not None


async def test_job_that_cannot_be_written_fails_alone(gathering, task, session):
    good, orphan, other = job_of(task), job_of(task, owner=new_id()), job_of(task)
    answers = await asyncio.gather(
        *(gathering.submit(task, job) for job in (good, orphan, other)), return_exceptions=True
    )
    assert isinstance(answers[1], IntegrityError)
    assert [answers[0].job_id, answers[2].job_id] == [good.id, other.id]
    assert set(session.scalars(select(Job.id))) >= {good.id, other.id}


async def test_requests_with_one_key_are_answered_with_one_job(gathering, task, session, owner):
    jobs = [job_of(task, owner=owner, key="wall-1") for _ in range(20)]
    answers = await asyncio.gather(*(gathering.submit(task, job) for job in jobs))
    assert len({answer.job_id for answer in answers}) == 1
    assert [answer.created for answer in answers].count(True) == 1
    assert session.scalars(select(Job.id)).all() == [answers[0].job_id]


async def test_key_that_stands_for_something_else_is_refused_to_its_request_alone(gathering, task, owner):
    first, other = (job_of(task, owner=owner, wall=wall, key="wall-1") for wall in (1, 2))
    answers = await asyncio.gather(
        *(gathering.submit(task, job) for job in (first, other, job_of(task, owner=owner, key="wall-2"))),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [JobAccepted, IdempotencyConflict, JobAccepted]


async def test_key_that_another_transaction_is_writing_holds_up_no_job_without_one(
    gathering, task, session, owner
):
    mine = job_of(task, owner=owner, key="wall-1")
    task.submit(session, mine)
    asking = asyncio.create_task(gathering.submit(task, job_of(task, owner=owner, key="wall-1")))
    assert (await gathering.submit(task, job_of(task))).created
    assert not asking.done()
    session.commit()
    answer = await asking
    assert (answer.job_id, answer.created) == (mine.id, False)


async def test_job_is_written_though_nobody_waits_any_more(gathering, task, session, handed_over):
    job = job_of(task)
    asking = asyncio.create_task(gathering.submit(task, job))
    await asyncio.sleep(0)
    asking.cancel()
    await gathering.submit(task, job_of(task))
    assert job_row(session, job.id)["status"] == "queued"
    assert job.id in handed_over()


async def test_lost_connection_is_told_to_all_and_the_next_are_written_by_another(gathering, task, session):
    await gathering.submit(task, job_of(task))
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'json_to_recordset' AND {}"
    session.execute(text(end.format("pid <> pg_backend_pid() AND datname = current_database()")))
    jobs = [job_of(task) for _ in range(3)]
    answers = await asyncio.gather(*(gathering.submit(task, job) for job in jobs), return_exceptions=True)
    assert [is_away(answer) for answer in answers] == [True] * 3
    assert (await gathering.submit(task, jobs[0])).job_id == jobs[0].id
