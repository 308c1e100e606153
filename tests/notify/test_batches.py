"""A batch that is to be told of is told once, when the last of its jobs has ended."""

import pytest
from sqlalchemy import select, update

from factories import claim_job, job_row
from holdfast.jobs import children, retrying, store
from holdfast.jobs.models import Batch, Job
from holdfast.jobs.retrying import RetryRequest
from holdfast.notify import endpoints
from holdfast.notify.backend import BATCH_TASK
from holdfast.testing import run_job


@pytest.fixture
def work(holdfast):
    @holdfast.task
    def work(job, number: int) -> int:
        return number

    return work


@pytest.fixture
def watch(holdfast, session):
    """Run the job that waits for a batch, once, if it may run; returns its row."""

    def watch():
        session.rollback()
        children.wake_waiting(session, limit=10)
        session.commit()
        job_id = session.execute(select(Job.id).where(Job.task == BATCH_TASK)).scalar_one()
        return run_job(holdfast, job_id)

    return watch


def submit(session, work, count=3, **options):
    batch = work.enqueue_many(session, [{"number": number} for number in range(count)], **options)
    session.commit()
    return batch


def test_batch_is_told_once_when_all_of_it_has_ended(
    session, holdfast, notifications, work, url, written, watch, bring, receiver
):
    batch = submit(session, work, notify={"webhook": {"url": url}})
    assert watch().status == "queued"
    for job_id in batch.job_ids[:2]:
        run_job(holdfast, job_id)
        assert watch().status == "queued"
    store.cancel(session, batch.job_ids[2])
    session.commit()
    assert watch().result == 1

    [told] = written()
    assert (told.event, told.job_id, told.batch_id) == ("batch.ended", None, batch.batch_id)
    assert bring(told).status == "completed"
    data = receiver.came[0].content["data"]
    assert data["id"] == str(batch.batch_id)
    assert data["total"] == 3
    assert data["counts"] == {"completed": 2, "failed": 0, "cancelled": 1}


def test_jobs_of_such_a_batch_are_not_told_of_one_by_one(
    session, holdfast, notifications, work, url, written
):
    batch = submit(session, work, notify={"webhook": {"url": url}})
    assert session.get_one(Batch, batch.batch_id).notify == {"webhook": {"url": url}}
    assert [job_row(session, job_id)["notify"] for job_id in batch.job_ids] == [None] * 3
    run_job(holdfast, batch.job_ids[0])
    assert written() == []


def test_job_that_waits_for_a_batch_is_run_a_few_times_and_not_once_for_each_job(
    session, holdfast, notifications, work, url, watch
):
    batch = submit(session, work, count=150, notify={"webhook": {"url": url}})
    watch()
    # Those that are waited for have ended, in their usual order the others before them.
    session.execute(
        update(Job)
        .where(Job.batch_id == batch.batch_id)
        .values(status="completed", completed_at=Job.created_at)
    )
    session.commit()
    row = watch()
    assert (row.status, row.attempt) == ("completed", 2)


def test_end_that_is_told_by_an_attempt_that_was_lost_is_not_told_again(
    session, holdfast, notifications, work, url, written, watch
):
    batch = submit(session, work, count=1, notify={"webhook": {"url": url}})
    run_job(holdfast, batch.job_ids[0])
    row = watch()
    session.execute(update(Job).where(Job.id == row.id).values(status="queued", completed_at=None))
    session.commit()
    assert watch().attempt == 2
    assert len(written()) == 1


def test_endpoints_that_ask_for_it_are_told_of_every_batch_of_their_key(
    session, holdfast, notifications, work, owner, webhook, written, watch
):
    endpoints.change(session, webhook.id, events=["batch.ended"])
    batch = submit(session, work, count=1, owner=owner)
    run_job(holdfast, batch.job_ids[0])
    watch()
    [told] = written()
    assert (told.event, told.webhook_id) == ("batch.ended", webhook.id)


def test_batch_that_nobody_wants_to_know_of_is_not_waited_for(session, notifications, work, owner, webhook):
    endpoints.change(session, webhook.id, events=["job.failed"])
    submit(session, work, owner=owner)
    submit(session, work)
    assert session.scalars(select(Job.id).where(Job.task == BATCH_TASK)).all() == []


def test_retry_of_a_job_tells_whom_the_first_told(session, notifications, work, url):
    notify = {"webhook": {"url": url}}
    job_id = work.enqueue(session, number=1, notify=notify).job_id
    session.commit()
    store.fail(session, claim_job(session, job_id), {"code": "x", "message": "y"}, None)
    again = retrying.retry(session, work, session.get_one(Job, job_id), RetryRequest(job_id))
    session.commit()
    assert job_row(session, again.job_id)["notify"] == notify
