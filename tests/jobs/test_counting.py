"""Jobs that have ended are counted once each, by whoever comes first, and none is passed over."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import func, select, text, update

from factories import claim_job, make_job, queue_job, start_job
from holdfast.jobs import counting, store
from holdfast.jobs.counting import SPANS, Counting, count_piece
from holdfast.jobs.models import CountedUntil, Job, JobCount, JobDuration
from holdfast.states import JobStatus

HOUR, DAY, MONTH = SPANS.values()
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Jobs are counted as soon as nobody can end one in the same moment."""
    monkeypatch.setattr(counting, "SETTLING", timedelta())


@pytest.fixture
def count(holdfast, session):
    def count_all():
        session.commit()
        while Counting(holdfast.database).round():
            pass
        Counting(holdfast.database).round()

    count_all()
    return count_all


def end_job(session, status=JobStatus.COMPLETED, *, waited=timedelta(), ran=timedelta(), ago=None, **changes):
    """Make a job that ended so, so long ago."""
    claim = make_job(session, status, **changes)
    ended = func.now() - (ago or timedelta())
    times = {"completed_at": ended, "started_at": ended - ran, "run_at": ended - ran - waited}
    session.execute(update(Job).where(Job.id == claim.id).values(**times))
    session.commit()
    return claim.id


def set_back(session, ago):
    session.execute(update(CountedUntil).values(moment=func.now() - ago))
    session.commit()


def total(session, span):
    counted = counting.stretches(session, span)
    return tuple(sum(getattr(each, way) for each in counted) for way in ("completed", "failed", "cancelled"))


def test_jobs_are_counted_by_how_they_ended_and_once(session, count):
    for status, jobs in ((JobStatus.COMPLETED, 3), (JobStatus.FAILED, 2), (JobStatus.CANCELLED, 1)):
        for _ in range(jobs):
            make_job(session, status)
    queue_job(session)
    start_job(session)
    for _ in range(3):
        count()
    assert [total(session, span) for span in (HOUR, DAY, MONTH)] == [(3, 2, 1)] * 3


def test_stretches_are_all_there_up_to_now(session, count):
    for span, stretches in ((HOUR, 60), (DAY, 96), (MONTH, 120)):
        shown = counting.stretches(session, span)
        assert len(shown) == stretches
        assert 0 <= datetime.now(UTC).timestamp() - shown[-1].starts_at <= span.seconds + 60
        assert {later.starts_at - each.starts_at for each, later in pairwise(shown)} == {span.seconds}


def test_a_past_is_counted_piece_by_piece_from_the_oldest_job_on(holdfast, session):
    oldest = end_job(session, ago=timedelta(days=1, minutes=30))
    session.execute(
        update(Job).where(Job.id == oldest).values(created_at=func.now() - timedelta(days=1, hours=1))
    )
    end_job(session, ago=timedelta(hours=5))
    end_job(session)
    session.commit()
    counter, rounds = Counting(holdfast.database), 0
    while counter.round() or not rounds:
        rounds += 1
    assert rounds > 3
    assert [total(session, span)[0] for span in (DAY, MONTH)] == [2, 3]


def test_waits_and_runs_are_told_within_a_fifth(session, count):
    set_back(session, MINUTE)
    for seconds in range(1, 101):
        end_job(session, waited=timedelta(seconds=seconds), ran=timedelta(seconds=10 * seconds))
    count()
    newest = [each for each in counting.stretches(session, MONTH) if each.waits]
    (wait_median, wait_most), (run_median, run_most) = newest[-1].waits, newest[-1].runs
    assert wait_median == pytest.approx(50, rel=0.2)
    assert wait_most == pytest.approx(95, rel=0.2)
    assert run_median == pytest.approx(500, rel=0.2)
    assert run_most == pytest.approx(950, rel=0.2)


def test_jobs_that_were_tried_again_are_counted_and_not_measured(session, count):
    claim = start_job(session)
    store.retry_later(session, claim, {"code": "no", "message": "no"}, timedelta())
    session.commit()
    store.complete(session, claim_job(session, claim.id), 1, None)
    count()
    assert total(session, HOUR) == (1, 0, 0)
    assert session.scalar(select(func.count()).select_from(JobDuration)) == 0


def test_a_job_whose_transaction_is_still_open_is_counted_later(holdfast, session, count):
    claim = start_job(session)
    with holdfast.database.session() as late:
        store.complete(late, claim, 1, None)
        make_job(session, JobStatus.COMPLETED)
        count()
        late.commit()
    count()
    assert total(session, HOUR) == (2, 0, 0)


def test_a_transaction_is_not_waited_for_for_ever(holdfast, session, count, monkeypatch):
    monkeypatch.setattr(counting, "PATIENCE", timedelta())
    with holdfast.database.session() as forgotten:
        forgotten.execute(text("SELECT now()"))
        make_job(session, JobStatus.COMPLETED)
        count()
        assert total(session, HOUR) == (1, 0, 0)


def test_one_counts_at_a_time_and_the_others_pass_by(holdfast, session, count):
    make_job(session, JobStatus.COMPLETED)
    with holdfast.database.session() as one, holdfast.database.session() as other:
        count_piece(one)
        assert not count_piece(other)
        one.commit()
        other.commit()
    count()
    assert total(session, HOUR) == (1, 0, 0)


def test_tasks_with_most_jobs_come_first(session, count):
    for task, jobs in (("a", 1), ("b", 3), ("c", 2)):
        for _ in range(jobs):
            make_job(session, JobStatus.COMPLETED, task=task)
    count()
    assert [each.task for each in counting.by_task(session, DAY, most=2)] == ["b", "c"]


def test_what_is_not_shown_any_more_is_forgotten(session, count):
    old = {"starts_at": datetime.now(UTC) - timedelta(hours=3), "completed": 1, "failed": 0, "cancelled": 0}
    session.add_all(JobCount(seconds=span.seconds, task="old", **old) for span in SPANS.values())
    count()
    kept = session.scalars(select(JobCount.seconds).where(JobCount.task == "old")).all()
    assert sorted(kept) == [DAY.seconds, MONTH.seconds]
