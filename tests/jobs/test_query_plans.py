"""The hot statements use their indexes, and do not read the finished jobs, on a table full of them."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session

from databases import copied_database
from factories import LEASE, PROCESS, WORKER, make_owner, queue_job, start_job
from holdfast.jobs import (
    batches,
    children,
    counting,
    failures,
    grouped,
    idempotency,
    leases,
    looking,
    queries,
    queues,
    store,
)
from holdfast.jobs.delivery import sending, waiting
from holdfast.jobs.delivery.waiting import Shelf
from holdfast.jobs.ending.lateness import end_late
from holdfast.jobs.ending.overdue import overdue_attempts
from holdfast.jobs.failures import Likeness
from holdfast.jobs.grouped import Completion, Holder
from holdfast.states import JobStatus

FINISHED = 50_000
BATCH = UUID(int=1)
AGO = timedelta(seconds=5)
SHELF = Shelf("default", 5)
HOLDER = Holder(WORKER, PROCESS, LEASE)


@pytest.fixture(scope="module")
def engine(admin, engines, template):
    """A database in which many jobs have ended and a few have not."""
    with copied_database(admin, engines.database_url, template) as url:
        engine = create_engine(url)
        with Session(engine) as session:
            owners = [make_owner(session, str(number))[0].id for number in range(5)]
            finish_many(session, owners)
            relate_some(session, owners[0])
            for number in range(20):
                queue_job(session, sent=number % 2 == 0, owner_id=owners[0], deadline=timedelta(hours=1))
                start_job(session, owner_id=owners[0])
            session.execute(text("ANALYZE holdfast.jobs"))
            session.commit()
        yield engine
        engine.dispose()


def finish_many(session, owners):
    session.execute(
        text(
            "INSERT INTO holdfast.jobs"
            " (id, owner_id, task, queue, priority, status, args, error, max_attempts, sent_at, completed_at)"
            " SELECT gen_random_uuid(), (CAST(:owners AS uuid[]))[1 + n % :count], 'work', 'default', 5,"
            "   (ARRAY['completed', 'failed', 'cancelled'])[1 + n % 3], '{}', '{}', 4, now(), now()"
            " FROM generate_series(1, :rows) AS n"
        ),
        {"owners": owners, "count": len(owners), "rows": FINISHED},
    )


def relate_some(session, owner_id):
    """Give some of the finished jobs a batch, a parent, a job they retry, and a key."""
    batch = {"batch": BATCH, "owner": owner_id}
    session.execute(
        text("INSERT INTO holdfast.batches (id, owner_id, total) VALUES (:batch, :owner, 900)"), batch
    )
    some = "id IN (SELECT id FROM holdfast.jobs WHERE owner_id = :owner ORDER BY id LIMIT 900 OFFSET {})"
    for offset, change in enumerate(
        (
            "batch_id = :batch",
            "parent_id = (SELECT min(id::text)::uuid FROM holdfast.jobs)",
            "retry_of = id",
            "idempotency_key = id::text, request_hash = ''",
        )
    ):
        which = some.format(offset * 900)
        session.execute(
            text(f"UPDATE holdfast.jobs SET {change} WHERE :batch IS NOT NULL AND {which}"), batch
        )


@pytest.fixture
def session(engine):
    with Session(engine) as session:
        yield session


def plan_of(session, work, after=lambda session: None):
    """How PostgreSQL runs the last statement that `work` executes: its nodes, inner ones included.

    `after` is what goes before it in the same transaction.
    """
    statements = []

    def remember(connection, cursor, statement, parameters, context, executemany):
        statements.append((statement, parameters))

    event.listen(session.bind, "before_cursor_execute", remember)
    try:
        after(session)
        work(session)
    finally:
        event.remove(session.bind, "before_cursor_execute", remember)
    session.rollback()
    statement, parameters = statements[-1]
    after(session)
    plan = session.connection().exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    session.rollback()
    return list(nodes(plan[0]["Plan"]))


def nodes(node):
    yield node
    for inner in node.get("Plans", ()):
        yield from nodes(inner)


def look(session, **where):
    return looking.look(session, queries.JobFilter(**where), limit=1)


def count_lately(session):
    """Count the jobs that ended since the table was filled: none of many."""
    now = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    session.execute(
        counting._COUNT, {"since": now - timedelta(milliseconds=1), "until": now, "lengths": [60]}
    )


@pytest.mark.parametrize(
    ("index", "work"),
    [
        pytest.param(
            "jobs_pkey",
            lambda s: store.claim(
                s, some_job(s, JobStatus.QUEUED), worker=WORKER, process=PROCESS, lease=LEASE
            ),
            id="claim",
        ),
        pytest.param("jobs_unsent_idx", waiting.due_shelves, id="shelves"),
        pytest.param("jobs_unsent_idx", lambda s: sending.take_unsent(s, SHELF, limit=100), id="unsent"),
        pytest.param("jobs_unsent_idx", lambda s: sending.take_overdue(s, SHELF), id="overdue"),
        pytest.param("jobs_unsent_idx", queues.list_queues, id="queues"),
        pytest.param("jobs_waiting_idx", lambda s: children.wake_waiting(s, limit=100), id="wake waiting"),
        pytest.param(
            "jobs_parent_idx",
            lambda s: children.cancel_descendants(s, [some_job(s, JobStatus.PROCESSING)]),
            id="cancel descendants",
        ),
        pytest.param(
            "jobs_unsent_idx",
            lambda s: grouped.claim_due(s, SHELF, ["work"], HOLDER, limit=100),
            id="claim what is due",
        ),
        pytest.param(
            "jobs_unsent_idx",
            lambda s: grouped.claim_due(s, SHELF, ["work"], HOLDER, limit=100, depth=50),
            id="claim what is due among others",
        ),
        pytest.param(
            "jobs_pkey",
            lambda s: grouped.claim(s, [some_job(s, JobStatus.QUEUED)], HOLDER),
            id="claim together",
        ),
        pytest.param(
            "jobs_pkey",
            lambda s: grouped.complete(s, [Completion(start_job(s), 1, None)]),
            id="complete together",
        ),
        pytest.param("jobs_sent_idx", lambda s: waiting.sent_backlog(s, "default", limit=100), id="sent"),
        pytest.param(
            "jobs_sent_idx",
            lambda s: waiting.unstarted(s, "default", sent_before=AGO, limit=100),
            id="unstarted",
        ),
        pytest.param(
            "jobs_sent_idx",
            lambda s: waiting.unstarted_by_queue(s, sent_before=AGO, limit=100),
            id="unstarted by queue",
        ),
        pytest.param("jobs_sent_idx", lambda s: sending.mark_queue_unsent(s, "default"), id="queue unsent"),
        pytest.param("jobs_processing_idx", lambda s: leases.rescue_expired(s, limit=100), id="rescue"),
        pytest.param(
            "jobs_processing_idx", lambda s: leases.hand_back_all(s, worker="gone"), id="hand back all"
        ),
        pytest.param("jobs_processing_idx", lambda s: overdue_attempts(s, worker=WORKER), id="overdue"),
        pytest.param("jobs_late_idx", lambda s: end_late(s, limit=100), id="late"),
        pytest.param(
            "jobs_processing_idx",
            lambda s: leases.renew(s, [PROCESS], worker=WORKER, lease=LEASE),
            id="renew",
        ),
        pytest.param(
            "jobs_owner_idx",
            lambda s: list_jobs(s, task=None),
            id="list by owner",
        ),
        pytest.param(
            "jobs_owner_status_idx",
            lambda s: list_jobs(s, status=JobStatus.QUEUED),
            id="list by owner and status",
        ),
        pytest.param(
            "jobs_pkey",
            lambda s: queries.list_jobs(s, queries.Page(queries.JobFilter(), 20)),
            id="list all",
        ),
        pytest.param("jobs_batch_idx", lambda s: list_jobs(s, batch_id=BATCH), id="list by batch"),
        pytest.param(
            "jobs_parent_idx", lambda s: list_jobs(s, parent_id=some_parent(s)), id="list by parent"
        ),
        pytest.param("jobs_retry_of_idx", lambda s: list_jobs(s, was_retried=False), id="list the unretried"),
        pytest.param(
            "jobs_owner_status_idx", lambda s: list_jobs(s, task="work", error="x"), id="list by error"
        ),
        pytest.param(
            "jobs_retry_of_idx",
            lambda s: s.execute(queries.SHOWN_JOB, {"job_id": some_job(s, JobStatus.FAILED)}),
            id="show",
        ),
        pytest.param("jobs_pkey", lambda s: look(s, task="work"), id="look for a task"),
        pytest.param("jobs_dead_idx", lambda s: look(s, status=JobStatus.FAILED), id="look for failures"),
        pytest.param(
            "jobs_processing_idx", lambda s: look(s, status=JobStatus.PROCESSING), id="look at what runs"
        ),
        pytest.param("jobs_sent_idx", lambda s: look(s, status=JobStatus.QUEUED), id="look at what waits"),
        pytest.param("jobs_owner_idx", lambda s: look(s, owner_id=some_owner(s)), id="look for an owner"),
        pytest.param("jobs_batch_idx", lambda s: look(s, batch_id=BATCH), id="look at a batch"),
        pytest.param("jobs_dead_idx", failures.groups, id="group failures"),
        pytest.param(
            "jobs_failed_idx",
            lambda s: failures.members(s, Likeness("work", "x", "x"), most=1),
            id="find failures that are alike",
        ),
        pytest.param("jobs_completed_at_idx", count_lately, id="count what has ended"),
        pytest.param("jobs_batch_idx", lambda s: batches.get_batch(s, BATCH), id="count a batch"),
        pytest.param(
            "jobs_batch_idx", lambda s: batches.list_batches(s, some_owner(s), limit=20), id="count batches"
        ),
        pytest.param("jobs_batch_idx", lambda s: store.cancel_some(s, BATCH, limit=100), id="cancel a batch"),
        pytest.param(
            "jobs_idempotency_idx",
            lambda s: idempotency.find_request(s, some_owner(s), "work", "order-1"),
            id="key",
        ),
        pytest.param(
            "jobs_idempotency_idx",
            lambda s: idempotency.find_request(s, None, "work", "tick"),
            id="key of nobody",
        ),
    ],
)
def test_statement_uses_its_index(session, index, work):
    plan = plan_of(session, work)

    scanned = [node for node in plan if node.get("Relation Name") == "jobs" and "Scan" in node["Node Type"]]
    indexes = {node["Index Name"] for node in plan if "Index Name" in node}
    assert index in indexes
    assert not [node for node in scanned if node["Node Type"] == "Seq Scan"]


def list_jobs(session, **where):
    where = queries.JobFilter(owner_id=some_owner(session), **where)
    return queries.list_jobs(session, queries.Page(where, 20))


def some_parent(session):
    return session.execute(text("SELECT min(id::text)::uuid FROM holdfast.jobs")).scalar_one()


def test_first_of_many_jobs_are_not_sorted_out_before_the_table_is_analyzed(admin, engines, template):
    with copied_database(admin, engines.database_url, template) as url:
        engine = create_engine(url)
        with Session(engine) as session:
            session.execute(
                text(
                    "INSERT INTO holdfast.jobs (id, task, queue, priority, args, max_attempts)"
                    " SELECT gen_random_uuid(), 'work', 'default', 5, '{}', 4 FROM generate_series(1, 20000)"
                )
            )
            session.commit()
            for take in (
                lambda s: sending.take_unsent(s, SHELF, limit=100),
                lambda s: sending.take_overdue(s, SHELF),
            ):
                plan = plan_of(session, take, after=lambda s: sending.lock_queue(s, "default"))
                assert "jobs_unsent_idx" in {node.get("Index Name") for node in plan}
                assert "Sort" not in {node["Node Type"] for node in plan}
        engine.dispose()


def test_jobs_that_were_sent_are_counted_without_reading_a_table_with_many_queued(admin, engines, template):
    with copied_database(admin, engines.database_url, template) as url:
        engine = create_engine(url)
        with Session(engine) as session:
            finish_many(session, [make_owner(session)[0].id])
            session.execute(
                text(
                    "INSERT INTO holdfast.jobs (id, task, queue, priority, args, max_attempts)"
                    " SELECT gen_random_uuid(), 'work', 'default', 5, '{}', 4 FROM generate_series(1, 10000)"
                )
            )
            session.execute(text("ANALYZE holdfast.jobs"))
            session.commit()
            plan = plan_of(
                session,
                lambda s: waiting.sent_backlog(s, "default", limit=20_000),
                after=lambda s: sending.lock_queue(s, "default"),
            )
        engine.dispose()
    assert "jobs_sent_idx" in {node.get("Index Name") for node in plan}
    assert "Seq Scan" not in {node["Node Type"] for node in plan}


def some_job(session, status):
    query = text("SELECT id FROM holdfast.jobs WHERE status = :status LIMIT 1")
    return session.execute(query, {"status": status}).scalar_one()


def some_owner(session):
    return session.execute(text("SELECT id FROM holdfast.api_keys LIMIT 1")).scalar_one()
