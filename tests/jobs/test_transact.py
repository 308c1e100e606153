"""Effects in PostgreSQL: exactly once by `transact`, and fenced by `transaction`."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.orm import Session

from factories import LEASE, PROCESS, attempt_outcomes
from holdfast import JobContext
from holdfast.jobs import leases, store
from holdfast.jobs.models import Step
from waiting import wait_for

INSERT = text("INSERT INTO public.effects (what) VALUES (:what)")


@pytest.fixture
def effects(session):
    """What was written, in its order."""
    session.execute(text("CREATE TABLE public.effects (id bigint GENERATED ALWAYS AS IDENTITY, what text)"))
    session.commit()

    def effects():
        session.rollback()
        return list(session.execute(text("SELECT what FROM public.effects ORDER BY id")).scalars())

    return effects


def write(session, what: str) -> int:
    session.execute(INSERT, {"what": what})
    return len(what)


async def write_async(session, what: str) -> int:
    await session.execute(INSERT, {"what": what})
    return len(what)


def fail_at(job, *attempts):
    if job.attempt in attempts:
        raise ValueError("as asked")


def sync_task(job: JobContext) -> int:
    length = job.transact_sync("write", write, "once")
    fail_at(job, 1, 2)
    return length


async def async_task(job: JobContext) -> int:
    length = await job.transact("write", write_async, "once")
    fail_at(job, 1, 2)
    return length


async def async_task_with_a_plain_function(job: JobContext) -> int:
    length = await job.transact("write", write, "once", key="x")
    fail_at(job, 1, 2)
    return length


@pytest.mark.parametrize("task", [sync_task, async_task, async_task_with_a_plain_function])
def test_effect_of_a_job_with_several_attempts_happens_once(submit, attempt, effects, task):
    job_id = submit(task)
    assert [attempt(job_id)["result"] for _ in range(3)] == [None, None, 4]
    assert effects() == ["once"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_function_that_fails_leaves_neither_effect_nor_step(submit, attempt, effects, saved, kind):
    def fail(session) -> None:
        write(session, "never")
        raise ValueError("as asked")

    async def fail_async(session) -> None:
        await write_async(session, "never")
        raise ValueError("as asked")

    def work(job: JobContext) -> None:
        job.transact_sync("write", fail)

    async def work_async(job: JobContext) -> None:
        await job.transact("write", fail_async)

    job_id = submit(work if kind == "def" else work_async)
    assert attempt(job_id)["status"] == "queued"
    assert effects() == []
    assert saved(job_id) == {}


def test_result_that_cannot_be_saved_undoes_the_effect(submit, attempt, effects):
    def write_wrongly(session) -> int:
        write(session, "never")
        return "many"

    def work(job: JobContext) -> None:
        job.transact_sync("write", write_wrongly)

    assert attempt(submit(work))["error"]["code"] == "invalid_result"
    assert effects() == []


def give_away(database, job_id):
    """Let the job move on to another worker."""
    with database.transaction() as session:
        worker = session.execute(text("SELECT worker FROM holdfast.jobs WHERE id = :id"), {"id": job_id})
        leases.rescue_from_workers(session, [worker.scalar_one()], limit=10)
        store.claim(session, job_id, worker="worker-2", process=PROCESS, lease=LEASE)


@pytest.mark.parametrize("kind", ["transact", "with", "async with"])
def test_stale_attempt_has_no_effect(submit, attempt, effects, holdfast, session, kind):
    def write_late(own, job_id) -> None:
        write(own, "late")
        give_away(holdfast.database, job_id)

    def transact(job: JobContext) -> None:
        job.transact_sync("write", write_late, job.id)

    def sync_block(job: JobContext) -> None:
        with job.transaction() as own:
            write_late(own, job.id)

    async def async_block(job: JobContext) -> None:
        async with job.transaction() as own:
            await write_async(own, "late")
            await asyncio.to_thread(give_away, holdfast.database, job.id)

    job_id = submit({"transact": transact, "with": sync_block, "async with": async_block}[kind])
    assert attempt(job_id)["status"] == "processing"
    assert effects() == []
    assert attempt_outcomes(session, job_id) == ["lost", None]


def test_block_is_run_again_by_a_later_attempt_and_commits_each_time(submit, attempt, effects):
    async def work(job: JobContext) -> None:
        async with job.transaction() as own:
            await write_async(own, f"attempt {job.attempt}")
        fail_at(job, 1)

    job_id = submit(work)
    attempt(job_id)
    attempt(job_id)
    assert effects() == ["attempt 1", "attempt 2"]


@pytest.fixture
def cut(admin):
    """End the server's side of a session's connection, and wait until it is gone."""

    def cut(session):
        pid = session.connection().connection.driver_connection.info.backend_pid
        admin.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

    return cut


@pytest.mark.parametrize("moment", ["before the commit", "in the commit, done", "in the commit, not done"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_effect_happens_once_though_the_connection_is_lost(
    submit, attempt, effects, saved, cut, moment, kind
):
    runs = []

    def lose_commit(session):
        connection = session.connection().connection.driver_connection
        if moment == "in the commit, done":
            if isinstance(connection, psycopg.Connection):
                connection.commit()
            else:
                session.connection().exec_driver_sql("COMMIT")
        cut(session)

    def prepare(session):
        runs.append("run")
        write(session, "once")
        if len(runs) > 1:
            return
        if moment == "before the commit":
            cut(session)
        else:
            event.listen(session, "before_commit", lose_commit, once=True)

    def once(session) -> str:
        prepare(session)
        return "done"

    async def once_async(session) -> str:
        await session.run_sync(prepare)
        return "done"

    def work(job: JobContext) -> str:
        return job.transact_sync("write", once)

    async def work_async(job: JobContext) -> str:
        return await job.transact("write", once_async)

    job_id = submit(work if kind == "def" else work_async)
    row = attempt(job_id)
    assert (row["status"], row["result"], row["failures"]) == ("completed", "done", 0)
    assert effects() == ["once"]
    assert saved(job_id) == {("write", "#0"): "done"}
    assert len(runs) == (1 if moment == "in the commit, done" else 2)


@pytest.fixture
def await_lock(admin, holdfast):
    """Wait until a transaction in the test's database waits for another one's end."""

    def is_waiting():
        query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
        return admin.execute(query, [holdfast.database.engine.url.database]).fetchone() is not None

    return lambda: wait_for(is_waiting, "a transaction that waits")


def test_effect_happens_once_though_the_lost_commit_is_still_under_way(
    submit, attempt, effects, await_lock, holdfast, cut
):
    """The first transaction lives on in another connection, which commits while the second run waits."""
    runs = []
    engine = holdfast.database.engine

    def move(session):
        step = session.execute(text("SELECT * FROM holdfast.steps")).mappings().one()
        cut(session)
        write(moved, "once")
        moved.execute(insert(Step).values(dict(step)))

    def once(session) -> str:
        runs.append("run")
        write(session, "once")
        if len(runs) == 1:
            event.listen(session, "before_commit", move, once=True)
        return "done"

    def work(job: JobContext) -> str:
        return job.transact_sync("write", once)

    job_id = submit(work)
    with ThreadPoolExecutor() as threads, Session(engine) as moved:
        ended = threads.submit(attempt, job_id)
        await_lock()
        moved.commit()
        assert ended.result(30)["result"] == "done"
    assert runs == ["run", "run"]
    assert effects() == ["once"]


def test_steps_are_saved_before_a_transaction_begins(submit, attempt, effects, saved):
    seen = []

    def count(session, job_id) -> None:
        seen.append(len(saved(job_id)))

    def read(number: int) -> int:
        return number

    def work(job: JobContext) -> None:
        for number in range(10):
            job.step_sync("read", read, number)
        job.transact_sync("count", count, job.id)
        job.step_sync("read", read, 10)
        with job.transaction():
            seen.append(len(saved(job.id)))

    assert attempt(submit(work))["status"] == "completed"
    assert seen == [10, 12]
