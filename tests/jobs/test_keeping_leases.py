"""Who counts as dead, and when: the beats of living workers, also when PostgreSQL is away for a while."""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from psycopg import sql
from sqlalchemy import make_url, text, update
from sqlalchemy.exc import SQLAlchemyError

from factories import RAN_OUT, attempt_outcomes, job_row, start_job
from holdfast.jobs import workers
from holdfast.jobs.database import Database
from holdfast.jobs.keeper import Keeper
from holdfast.jobs.models import WorkerRow
from holdfast.jobs.workers import Worker, WorkerFacts
from waiting import wait_for

SOON = timedelta(seconds=3)
ME = Worker("me", SOON)
# So short a lease that everything a living worker is given time for is over at once.
HASTY = Worker("hasty", timedelta(milliseconds=30))


@pytest.fixture
def database(database_url):
    database = Database(lambda: database_url)
    yield database
    database.close()


@pytest.fixture
def make_keeper(database):
    """A worker's keeper, not running by itself; what it says is that it is a process of some machine."""
    keepers = []

    def make(worker=ME, host="elsewhere", pid=1, on_rescue=lambda: None):
        facts = WorkerFacts(host, pid, "prefork", 2, ["default"], 0, is_consuming=True)
        keepers.append(keeper := Keeper(database, worker, lambda: facts, on_rescue))
        return keeper

    yield make
    for keeper in keepers:
        keeper.close()


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


@pytest.fixture
def child():
    """The pid of a process of ours that waits."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.communicate()


def miss_a_beat(keeper, set_away):
    keeper.close()
    set_away(True)
    with pytest.raises(SQLAlchemyError):
        keeper.beat()
    set_away(False)


def fall_silent(session, name):
    long_ago = WorkerRow.heartbeat_at - timedelta(hours=1)
    session.execute(update(WorkerRow).where(WorkerRow.name == name).values(heartbeat_at=long_ago))
    session.commit()


def names(session):
    session.rollback()
    return set(session.execute(text("SELECT name FROM holdfast.workers")).scalars())


def test_beat_renews_the_leases_of_running_processes_and_of_no_others(session, make_keeper, child):
    mine = start_job(session, worker="me", process=os.getpid(), lease=RAN_OUT)
    childs = start_job(session, worker="me", process=child, lease=RAN_OUT)
    theirs = start_job(session, worker="another", process=os.getpid())
    before = job_row(session, theirs.id)

    assert make_keeper().beat() == []

    assert {job_row(session, claim.id)["status"] for claim in (mine, childs)} == {"processing"}
    assert job_row(session, theirs.id) == before


def test_job_of_a_dead_child_is_taken_back_at_the_next_beat(session, make_keeper, child):
    claim = start_job(session, worker="me", process=child)
    keeper = make_keeper()
    keeper.beat()
    os.kill(child, signal.SIGKILL)

    wait_for(lambda: keeper.beat() == [claim.id], "the rescue")

    assert job_row(session, claim.id)["status"] == "queued"
    assert attempt_outcomes(session, claim.id) == ["lost"]


def test_worker_that_lost_its_connection_and_says_nothing_is_dead_long_before_its_lease_ends(
    session, make_keeper
):
    claim = start_job(session, worker="dead", process=os.getpid())
    dead = make_keeper(Worker("dead", SOON))
    dead.beat()
    dead.close()
    fall_silent(session, "dead")
    rescues = []

    keeper = make_keeper(on_rescue=lambda: rescues.append(1))
    wait_for(lambda: keeper.beat() == [claim.id], "the rescue")

    assert (rescues, names(session)) == ([1], {"me"})
    assert job_row(session, claim.id)["status"] == "queued"


def test_worker_that_has_its_connection_may_be_silent_until_its_lease_ends(session, make_keeper):
    claim = start_job(session, worker="frozen", process=os.getpid())
    make_keeper(Worker("frozen", SOON)).beat()
    fall_silent(session, "frozen")

    assert make_keeper().beat() == []
    assert job_row(session, claim.id)["status"] == "processing"


def test_worker_that_lost_its_connection_and_has_spoken_since_is_alive(session, make_keeper):
    start_job(session, worker="cut off", process=os.getpid())
    cut_off = make_keeper(Worker("cut off", SOON))
    cut_off.beat()
    cut_off.close()

    assert make_keeper().beat() == []


def test_process_of_this_machine_that_runs_is_not_taken_for_dead(session, make_keeper, child):
    claim = start_job(session, worker="cut off", process=os.getpid())
    cut_off = make_keeper(Worker("cut off", SOON), host=socket.gethostname(), pid=child)
    cut_off.beat()
    cut_off.close()
    fall_silent(session, "cut off")

    keeper = make_keeper()
    assert keeper.beat() == []
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: keeper.beat() == [claim.id], "the rescue")


def test_process_of_this_machine_that_is_gone_is_dead_before_it_is_silent(session, make_keeper, child):
    claim = start_job(session, worker="killed", process=os.getpid())
    killed = make_keeper(Worker("killed", SOON), host=socket.gethostname(), pid=child)
    killed.beat()
    keeper = make_keeper()
    assert keeper.beat() == []
    os.kill(child, signal.SIGKILL)
    killed.close()

    began = time.monotonic()
    wait_for(lambda: keeper.beat() == [claim.id], "the rescue")
    assert time.monotonic() - began < ME.silence.total_seconds()


def test_worker_that_was_taken_for_dead_comes_back_under_a_lock_of_its_own(session, make_keeper):
    keeper = make_keeper()
    keeper.beat()
    workers.remove(session, ["me"])
    session.commit()

    keeper.beat()
    fall_silent(session, "me")

    assert names(session) == {"me"}
    assert workers.silent_workers(session, silence=ME.silence) == []


def test_worker_that_ends_in_order_leaves_nothing(session, make_keeper):
    keeper = make_keeper()
    keeper.beat()
    keeper.leave()

    assert names(session) == set()


def test_lease_that_ran_out_while_the_database_was_away_may_still_be_renewed(session, make_keeper, set_away):
    keeper = make_keeper()
    keeper.beat()
    claim = start_job(session, lease=RAN_OUT)
    miss_a_beat(keeper, set_away)
    keeper._last_contact -= 60

    assert keeper.beat() == []
    assert job_row(session, claim.id)["status"] == "processing"


def test_job_whose_worker_stays_silent_is_taken_back_when_the_living_have_spoken(
    session, make_keeper, set_away
):
    claim = start_job(session, lease=RAN_OUT)
    keeper = make_keeper(HASTY)
    miss_a_beat(keeper, set_away)

    wait_for(lambda: keeper.beat() == [claim.id], "the rescue")
