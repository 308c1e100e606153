"""The process that submits: what it notes is what is there, and a batch comes as a whole or not at all."""

import pytest
from sqlalchemy import func, select, text

from databases import conninfo
from holdfast import JobContext
from holdfast.chaos import submitter
from holdfast.chaos.ledger import Ledger, read_history
from holdfast.chaos.related import check_batches
from holdfast.chaos.submitter import Order, read_notes, submit
from holdfast.jobs.models import Job

JOBS, TOGETHER = 23, 5


@pytest.fixture
def ledger(database_url):
    ledger = Ledger(conninfo(database_url))
    ledger.prepare()
    yield ledger
    ledger.close()


@pytest.fixture
def order(holdfast, tmp_path, ledger):
    """Batches of `work`, of which the last is shorter."""

    @holdfast.task
    def work(job: JobContext, serial: int) -> int:
        return serial

    return Order(
        jobs=JOBS,
        seconds=0.1,
        seed=1,
        mix={"work": 1},
        batches={"work": TOGETHER},
        args=None,
        expected={},
        notes=tmp_path / "submitted.txt",
    )


def test_batches_are_there_as_often_as_they_were_committed(holdfast, order, session, ledger, monkeypatch):
    monkeypatch.setattr(submitter, "ROLLED_BACK_SHARE", 0.5)
    submit(holdfast, order)

    history = read_history(ledger)
    assert sorted(history.batches.values()) == [JOBS % TOGETHER, *[TOGETHER] * (JOBS // TOGETHER)]
    assert list(check_batches(history)) == []
    acknowledged, rolled_back = read_notes(order.notes)
    assert set(history.jobs) == acknowledged
    assert not rolled_back & acknowledged
    serials = [job.args["serial"] for job in sorted(history.jobs.values(), key=lambda job: job.id)]
    assert serials == list(range(JOBS))
    submitted = session.execute(text("SELECT job_id FROM chaos.submissions ORDER BY serial")).scalars().all()
    assert submitted == sorted(history.jobs)


def test_batch_with_a_key_is_asked_for_twice_and_there_once(holdfast, order, session):
    submit(holdfast, order)

    keys = session.scalars(select(Job.idempotency_key).where(Job.idempotency_key.is_not(None))).all()
    assert sorted(keys) == ["batch:15", "batch:5"]
    assert session.scalar(select(func.count()).select_from(Job)) == JOBS
    noted = order.notes.read_text().count("acknowledged")
    assert noted == JOBS + len(keys) * TOGETHER


def test_order_survives_a_command_line(order):
    assert Order.load(order.dump()) == order
