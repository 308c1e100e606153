"""Retention deletes what has served its time, and nothing that somebody still needs."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import create_engine, event, func, select, text, update
from sqlalchemy.orm import Session

from databases import copied_database
from factories import attempt_outcomes, claim_job, make_job
from holdfast import Holdfast, JobContext
from holdfast.errors import ConfigurationError
from holdfast.jobs import retention, store
from holdfast.jobs.ids import first_id, new_id
from holdfast.jobs.models import Batch, Job, Step, WorkerRow
from holdfast.jobs.retention import delete_jobs
from holdfast.states import TERMINAL, JobStatus

AGE = timedelta(days=30)  # the default
LONG_AGO = timedelta(days=31)
NOBODY = UUID(int=0)


def make(session, status, ago=LONG_AGO, **columns):
    """A job that was made so long ago, and ended then if it has; returns its id."""
    moment = session.execute(select(func.now() - ago)).scalar_one()
    job_id = make_job(session, status, id=UUID(int=first_id(moment).int | new_id().int % (1 << 80))).id
    ended = {"completed_at": moment} if JobStatus(status).is_terminal else {}
    session.execute(update(Job).where(Job.id == job_id).values(created_at=moment, **ended, **columns))
    session.commit()
    return job_id


def end(session, job_id, ago=LONG_AGO):
    """Let a queued job end, so long ago."""
    store.cancel(session, job_id)
    session.execute(update(Job).where(Job.id == job_id).values(completed_at=func.now() - ago))
    session.commit()


def clean(application):
    """Run the task as a worker does; returns what it tells."""
    task = application.tasks["holdfast.retention"]
    with application.database.session() as session:
        accepted = task.enqueue(session)
        session.commit()
    application._parts.runner.run(task, accepted.job_id, application._identity())
    with application.database.session() as session:
        job = session.get(Job, accepted.job_id)
        assert job.status == "completed", job.error
        session.delete(job)
        session.commit()
    return job.result


def left(session):
    session.rollback()
    return set(session.scalars(select(Job.id)))


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_finished_job_goes_with_its_attempts_and_steps(holdfast, session, status):
    old, young = make(session, status), make(session, status, ago=timedelta(days=29))
    for job_id in (old, young):
        step = {"job_id": job_id, "name": "read", "key": "", "fingerprint": b"x", "attempt": 1}
        session.add(Step(**step, started_at=func.now()))
    session.commit()

    assert clean(holdfast) == {"jobs": 1, "batches": 0, "workers": 0}
    assert left(session) == {young}
    assert attempt_outcomes(session, old) == []
    assert session.scalars(select(Step.job_id)).all() == [young]


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.PROCESSING])
def test_unfinished_job_stays_however_old_it_is(holdfast, session, status):
    old = make(session, status)

    assert clean(holdfast)["jobs"] == 0
    assert left(session) == {old}


def test_job_that_was_made_long_ago_and_ended_lately_stays(holdfast, session):
    old = make(session, "queued")
    claim = claim_job(session, old)
    store.complete(session, claim, None, None)
    session.commit()

    assert clean(holdfast)["jobs"] == 0
    assert left(session) == {old}


def test_parent_of_an_unfinished_child_stays_and_so_do_its_children(holdfast, session):
    parent = make(session, "completed")
    ended = make(session, "completed", parent_id=parent)
    waiting = make(session, "queued", parent_id=parent)

    assert clean(holdfast)["jobs"] == 1
    assert left(session) == {parent, waiting}
    assert ended not in left(session)


def test_child_of_an_unfinished_parent_stays(holdfast, session):
    parent = make(session, "queued")
    child = make(session, "completed", parent_id=parent)

    assert clean(holdfast)["jobs"] == 0
    assert left(session) == {parent, child}


def test_line_of_retries_goes_from_its_newest_end(holdfast, session):
    origin = make(session, "failed")
    second = make(session, "failed", retry_of=origin, origin_id=origin)
    child = make(session, "completed", parent_id=origin)
    third = make(session, "queued", retry_of=second, origin_id=origin)
    assert clean(holdfast)["jobs"] == 0

    end(session, third)
    remaining = []
    while left(session):
        clean(holdfast)
        remaining.append(left(session))

    assert remaining == [{origin, second, child}, {origin, child}, set()]


def test_jobs_of_a_batch_stay_until_all_have_ended_and_the_batch_goes_with_the_last(holdfast, session):
    batch = Batch(id=first_id(session.execute(select(func.now() - LONG_AGO)).scalar_one()), total=2)
    empty_and_young = Batch(total=1)
    session.add_all([batch, empty_and_young])
    session.commit()
    ended = make(session, "completed", batch_id=batch.id)
    waiting = make(session, "queued", batch_id=batch.id)
    assert clean(holdfast) == {"jobs": 0, "batches": 0, "workers": 0}
    assert left(session) == {ended, waiting}

    end(session, waiting)

    assert clean(holdfast) == {"jobs": 2, "batches": 1, "workers": 0}
    assert session.scalars(select(Batch.id)).all() == [empty_and_young.id]


@pytest.mark.parametrize(
    ("on_delete", "stays"),
    [("NO ACTION", True), ("RESTRICT", True), ("SET NULL", True), ("CASCADE", False)],
)
def test_job_that_a_table_of_the_application_refers_to_stays(holdfast, session, on_delete, stays):
    referred, other = make(session, "completed"), make(session, "completed")
    session.execute(
        text(
            'CREATE TABLE public."My Orders" ("The Job" uuid REFERENCES holdfast.jobs (id)'
            f" ON DELETE {on_delete})"
        )
    )
    session.execute(text('INSERT INTO public."My Orders" VALUES (:id), (NULL)'), {"id": referred})
    session.commit()

    assert clean(holdfast)["jobs"] == (1 if stays else 2)
    assert left(session) == ({referred} if stays else set())
    assert other not in left(session)


def test_locked_job_is_passed_by_until_the_next_time(holdfast, session):
    locked, free = make(session, "completed"), make(session, "completed")
    session.execute(text("SELECT FROM holdfast.jobs WHERE id = :id FOR KEY SHARE"), {"id": locked})

    with holdfast.database.session() as other:
        other.execute(text("SET lock_timeout = '5s'"))
        piece = delete_jobs(other, after=NOBODY, before=new_id(), age=AGE)
        other.commit()
    session.commit()

    assert piece.deleted == 1
    assert left(session) == {locked}
    assert free not in left(session)
    assert clean(holdfast)["jobs"] == 1


def test_large_tables_are_walked_in_pieces(holdfast, session, monkeypatch):
    monkeypatch.setattr(retention, "PIECE", 3)
    finished = {make(session, "completed") for _ in range(7)}
    kept = {make(session, "queued") for _ in range(4)}

    assert clean(holdfast)["jobs"] == len(finished)
    assert left(session) == kept


def test_silent_worker_is_forgotten(holdfast, session):
    facts = {"host": "elsewhere", "pid": 1, "pool": "prefork", "concurrency": 2, "queues": []}
    session.add(WorkerRow(name="silent", **facts, heartbeat_at=func.now() - timedelta(days=2)))
    session.add(WorkerRow(name="alive", **facts))
    session.commit()

    assert clean(holdfast)["workers"] == 1
    session.rollback()
    assert session.scalars(select(WorkerRow.name)).all() == ["alive"]


def test_retention_is_a_schedule_that_can_be_turned_off(settings):
    scheduled = [task.name for task in Holdfast(settings).tasks if task.options.cron is not None]
    off = Holdfast(settings.model_copy(update={"retention_days": 0}))

    assert scheduled == ["holdfast.retention"]
    assert list(off.tasks) == []


def test_reserved_names_are_refused(holdfast):
    @holdfast.task
    def holdfast_report(job: JobContext) -> None: ...

    with pytest.raises(ConfigurationError, match=r"begin with 'holdfast\.'"):
        holdfast.task(name="holdfast.report")(holdfast_report.function)


@pytest.fixture(scope="module")
def engine(admin, engines, template):
    """A database with many old jobs of all kinds."""
    with copied_database(admin, engines.database_url, template) as url:
        engine = create_engine(url)
        with Session(engine) as session:
            session.execute(
                text(
                    "INSERT INTO holdfast.jobs"
                    " (id, task, queue, priority, status, args, error, max_attempts, completed_at)"
                    " SELECT gen_random_uuid(), 'work', 'default', 5,"
                    "   (ARRAY['completed', 'failed', 'cancelled'])[1 + n % 3], '{}', '{}', 4, now() - :ago"
                    " FROM generate_series(1, 50000) AS n"
                ),
                {"ago": LONG_AGO},
            )
            session.execute(text("ANALYZE holdfast.jobs"))
            session.commit()
        yield engine
        engine.dispose()


def test_no_statement_of_retention_reads_the_whole_table(engine):
    statements = []

    def remember(_connection, _cursor, statement, parameters, *_):
        statements.append((statement, parameters))

    with Session(engine) as session:
        event.listen(engine, "before_cursor_execute", remember)
        piece = delete_jobs(session, after=NOBODY, before=UUID(int=(1 << 128) - 1), age=AGE)
        event.remove(engine, "before_cursor_execute", remember)
        assert piece.deleted == retention.PIECE
        session.rollback()
        explained = session.connection().exec_driver_sql
        plans = [
            str(explained(f"EXPLAIN {statement}", parameters).all()) for statement, parameters in statements
        ]

    assert len(plans) == 3
    for plan in plans:
        assert "jobs_pkey" in plan
        assert "Seq Scan on jobs" not in plan
