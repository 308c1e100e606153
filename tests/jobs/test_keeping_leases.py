"""Leases of living workers, when PostgreSQL is away for a while."""

from datetime import timedelta

import pytest
from psycopg import sql
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from factories import LEASE, RAN_OUT, job_row, start_job
from holdfast.celery.carrier import CeleryCarrier
from holdfast.jobs.database import Database
from holdfast.jobs.relay import Relay, RelayThread
from holdfast.jobs.runner import Worker
from waiting import wait_for


@pytest.fixture
def database(database_url):
    database = Database(lambda: database_url)
    yield database
    database.close()


@pytest.fixture
def make_thread(database, holdfast):
    """What a worker runs beside its pool, not started."""

    def make(lease):
        relay = Relay(database, CeleryCarrier(holdfast.celery))
        return RelayThread(relay, database, Worker("another", lease), list)

    return make


@pytest.fixture
def set_away(admin, database, database_url):
    """Let the database take no new connections, or again."""
    name = sql.Identifier(make_url(database_url).database)

    def set_away(is_away):
        database.close()
        admin.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, sql.Literal(not is_away))
        )

    return set_away


def miss(thread, set_away):
    set_away(True)
    with pytest.raises(SQLAlchemyError):
        thread._relay_round()
    set_away(False)


def test_lease_that_ran_out_while_the_database_was_away_may_still_be_renewed(session, make_thread, set_away):
    claim = start_job(session, lease=RAN_OUT)
    thread = make_thread(LEASE)
    miss(thread, set_away)

    thread._relay_round()
    assert job_row(session, claim.id)["status"] == "processing"


def test_job_whose_worker_stays_silent_is_taken_back_a_lease_later(session, make_thread, set_away):
    claim = start_job(session, lease=RAN_OUT)
    thread = make_thread(timedelta(milliseconds=200))
    miss(thread, set_away)

    def is_taken_back():
        thread._relay_round()
        return job_row(session, claim.id)["status"] == "queued"

    wait_for(is_taken_back, "the rescue")
