"""What sessions do to each other: who wins, who waits for whom, who passes by."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from factories import ERROR, LEASE, PROCESS, RAN_OUT, WORKER, job_row, queue_job, start_job
from holdfast.jobs import leases, store
from holdfast.jobs.delivery import sending
from holdfast.jobs.delivery.waiting import Shelf
from holdfast.states import JobStatus
from waiting import wait_for

SESSIONS = 20
SHELF = Shelf("default", 5)


@pytest.fixture
def engine(database_url):
    engine = create_engine(database_url, pool_size=SESSIONS)
    yield engine
    engine.dispose()


@pytest.fixture
def other(engine):
    with Session(engine) as session:
        yield session


@pytest.fixture
def background():
    with ThreadPoolExecutor(SESSIONS) as pool:
        yield pool


def backend(session):
    return session.execute(text("SELECT pg_backend_pid()")).scalar_one()


def is_waiting_for(engine, waiting, holder):
    with engine.connect() as connection:
        query = text("SELECT :holder = ANY(pg_blocking_pids(:waiting))")
        return connection.execute(query, {"holder": holder, "waiting": waiting}).scalar_one()


def test_exactly_one_of_twenty_workers_claims_a_job(session, engine, background):
    job_id = queue_job(session)
    together = threading.Barrier(SESSIONS)

    def claim(number):
        with Session(engine) as own:
            own.connection()
            together.wait(30)
            claimed = store.claim(own, job_id, worker=f"worker-{number}", process=PROCESS, lease=LEASE)
            own.commit()
            return claimed

    claims = [claim for claim in background.map(claim, range(SESSIONS)) if claim]

    assert [claim.attempt for claim in claims] == [1]
    assert job_row(session, job_id)["attempt"] == 1


@pytest.mark.parametrize(
    ("write", "answer"),
    [
        (lambda s, c: store.hand_back(s, c.id, c.attempt), True),
        (lambda s, c: store.cancel(s, c.id), JobStatus.PROCESSING),
        (lambda s, c: store.fail(s, c, ERROR, None), True),
    ],
    ids=["hand back", "cancel", "fail"],
)
def test_held_job_moves_on_only_after_the_holder_has_committed(
    session, other, engine, background, write, answer
):
    claim = start_job(session)
    assert store.hold(session, claim.id, claim.attempt)
    holder, waiting = backend(session), backend(other)

    result = background.submit(write, other, claim)
    wait_for(lambda: is_waiting_for(engine, waiting, holder), "the write waits for the holder")
    assert not result.done()
    session.commit()

    assert result.result(30) == answer
    other.commit()


def test_job_that_moves_on_first_cannot_be_held(session, other, engine, background):
    claim = start_job(session)
    assert leases.rescue_from_processes(other, [PROCESS], worker=WORKER, limit=10)
    rescuer, waiting = backend(other), backend(session)

    held = background.submit(store.hold, session, claim.id, claim.attempt)
    wait_for(lambda: is_waiting_for(engine, waiting, rescuer), "the holder waits for the rescue")
    other.commit()

    assert held.result(30) is False


def test_renewal_of_many_passes_a_locked_job_by(session, other):
    locked, _ = start_job(session), start_job(session)
    store.cancel(other, locked.id)

    session.execute(text("SET LOCAL lock_timeout = '5s'"))
    assert leases.renew(session, [PROCESS], worker=WORKER, lease=LEASE) == 1
    other.rollback()
    assert leases.renew(session, [PROCESS], worker=WORKER, lease=LEASE) == 2


def test_rescue_of_many_passes_a_held_job_by(session, other):
    held, free = start_job(session, lease=RAN_OUT), start_job(session, lease=RAN_OUT)
    assert store.hold(session, held.id, held.attempt)

    assert leases.rescue_expired(other, limit=10) == [free.id]
    other.commit()
    session.commit()
    assert leases.rescue_expired(other, limit=10) == [held.id]


def test_two_rescues_at_once_take_each_job_once(session, other):
    lost = {start_job(session, lease=RAN_OUT).id for _ in range(6)}

    first = leases.rescue_expired(session, limit=4)
    second = leases.rescue_expired(other, limit=4)
    session.commit()
    other.commit()

    assert (len(first), len(second)) == (4, 2)
    assert set(first) | set(second) == lost


def test_two_relays_at_once_take_each_unsent_job_once(session, other):
    jobs = {queue_job(session, sent=False) for _ in range(10)}

    first = [delivery.id for delivery in sending.take_unsent(session, SHELF, limit=6)]
    second = [delivery.id for delivery in sending.take_unsent(other, SHELF, limit=6)]
    session.commit()
    other.commit()

    assert (len(first), len(second)) == (6, 4)
    assert set(first) | set(second) == jobs
    assert sending.take_unsent(session, SHELF, limit=6) == []


def test_relay_sends_the_job_that_was_due_first(session):
    earliest, *_ = [queue_job(session, sent=False) for _ in range(5)]

    assert [delivery.id for delivery in sending.take_unsent(session, SHELF, limit=1)] == [earliest]


def test_claim_waits_for_a_cancel_and_then_finds_nothing_to_do(session, other, engine, background):
    job_id = queue_job(session)
    store.cancel(session, job_id)
    holder, waiting = backend(session), backend(other)

    claim = background.submit(store.claim, other, job_id, worker=WORKER, process=PROCESS, lease=LEASE)
    wait_for(lambda: is_waiting_for(engine, waiting, holder), "the claim waits for the cancel")
    session.commit()

    assert claim.result(30) is None
