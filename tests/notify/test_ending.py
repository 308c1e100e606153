"""Whatever way a job ends, its notifications are written with its end; and nothing else writes any."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from factories import (
    ERROR,
    RAN_OUT,
    claim_job,
    job_row,
    make_owner,
    queue_job,
    start_job,
)
from holdfast.jobs import children, grouped, leases, store
from holdfast.jobs.ending import lateness
from holdfast.jobs.grouped import Completion
from holdfast.jobs.models import Job
from holdfast.notify import endpoints
from holdfast.notify.backend import PRIORITY, SEND_TASK, WAITS
from holdfast.notify.models import DisabledBecause

NOTIFY = {"webhook": {"url": "https://hooks.example/"}}


def complete(session, **job):
    claim = start_job(session, **job)
    store.complete(session, claim, 1, None)
    return claim.id


def complete_grouped(session, **job):
    claim = start_job(session, **job)
    grouped.complete(session, [Completion(claim, 1, None)])
    return claim.id


def fail(session, **job):
    claim = start_job(session, **job)
    store.fail(session, claim, ERROR, None)
    return claim.id


def cancel_queued(session, **job):
    job_id = queue_job(session, **job)
    store.cancel(session, job_id)
    return job_id


def cancel_running(session, **job):
    claim = start_job(session, **job)
    store.cancel(session, claim.id)
    store.stop(session, claim, None)
    return claim.id


def cancel_instead_of_retry(session, **job):
    claim = start_job(session, **job)
    store.cancel(session, claim.id)
    store.retry_later(session, claim, ERROR, timedelta(0))
    return claim.id


def cancel_instead_of_handing_back(session, **job):
    claim = start_job(session, **job)
    store.cancel(session, claim.id)
    store.hand_back(session, claim.id, claim.attempt)
    return claim.id


def cancel_instead_of_suspending(session, **job):
    claim = start_job(session, **job)
    store.cancel(session, claim.id)
    store.suspend(session, claim, [claim.id], None, wakes_on_failure=False)
    return claim.id


def cancel_with_parent(session, **job):
    parent = start_job(session)
    job_id = queue_job(session, parent_id=parent.id, **job)
    children.cancel(session, [parent.id])
    return job_id


def cancel_as_worker_ends(session, **job):
    claim = start_job(session, **job)
    store.cancel(session, claim.id)
    leases.hand_back_all(session, worker="worker-1")
    return claim.id


def rescue_to_failed(session, **job):
    claim = start_job(session, max_crashes=1, lease=RAN_OUT, **job)
    leases.rescue_expired(session, limit=10)
    return claim.id


def rescue_to_cancelled(session, **job):
    claim = start_job(session, lease=RAN_OUT, **job)
    store.cancel(session, claim.id)
    leases.rescue_expired(session, limit=10)
    return claim.id


def expire(session, **job):
    job_id = queue_job(session, start_by=timedelta(seconds=-1), **job)
    lateness.end_late(session, limit=10)
    return job_id


def pass_deadline(session, **job):
    job_id = queue_job(session, deadline=timedelta(seconds=-1), **job)
    lateness.end_late(session, limit=10)
    return job_id


ENDINGS = {
    complete: "completed",
    complete_grouped: "completed",
    fail: "failed",
    cancel_queued: "cancelled",
    cancel_running: "cancelled",
    cancel_instead_of_retry: "cancelled",
    cancel_instead_of_handing_back: "cancelled",
    cancel_instead_of_suspending: "cancelled",
    cancel_with_parent: "cancelled",
    cancel_as_worker_ends: "cancelled",
    rescue_to_failed: "failed",
    rescue_to_cancelled: "cancelled",
    expire: "failed",
    pass_deadline: "failed",
}


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
def test_every_end_is_told_once_and_in_its_own_transaction(session, written, end):
    end(session, notify=NOTIFY)
    session.rollback()
    assert written() == []

    job_id = end(session, notify=NOTIFY)
    session.commit()

    status = ENDINGS[end]
    assert job_row(session, job_id)["status"] == status
    [told] = [each for each in written() if each.job_id == job_id]
    assert (told.event, told.channel, told.status) == (f"job.{status}", "webhook", "pending")
    assert told.target == {"to": NOTIFY["webhook"]}


def test_job_that_brings_it_is_due_and_as_its_task_says(session, written, notifications):
    complete(session, notify=NOTIFY)
    session.commit()

    [told] = written()
    row = job_row(session, told.id)
    assert row["task"] == SEND_TASK
    assert (row["status"], row["sent_at"], row["owner_id"], row["notify"]) == ("queued", None, None, None)
    assert row["args"] == {"notification_id": str(told.id)}
    task = notifications._send_notification
    assert row["queue"] == task.options.queue
    assert row["priority"] == task.options.priority == PRIORITY
    assert row["max_crashes"] == task.options.max_crashes
    assert row["max_attempts"] == task.options.retry.max_attempts == len(WAITS) + 1
    assert claim_job(session, told.id).task == SEND_TASK


def test_id_made_by_the_database_sorts_by_time_as_others_do(session):
    before, made, after = session.execute(
        text("SELECT now(), holdfast.new_id(), clock_timestamp() + interval '1 ms'")
    ).one()
    assert made.version == 7
    assert int(before.timestamp() * 1000) <= made.int >> 80 <= int(after.timestamp() * 1000)


def test_retry_and_rescue_that_do_not_end_a_job_are_not_told(session, written):
    claim = start_job(session, notify=NOTIFY)
    store.retry_later(session, claim, ERROR, timedelta(0))
    session.commit()
    again = claim_job(session, claim.id, lease=RAN_OUT)
    leases.rescue_expired(session, limit=10)
    session.commit()
    assert again.attempt == 2
    assert written() == []


def test_stale_attempt_tells_nothing(session, written):
    claim = start_job(session, notify=NOTIFY, lease=RAN_OUT)
    leases.rescue_expired(session, limit=10)
    assert not store.complete(session, claim, 1, None)
    session.commit()
    assert written() == []


def test_endpoints_are_told_of_what_they_ask_for_of_their_own_keys_jobs(session, written, owner):
    stranger = make_owner(session, "stranger")[0]

    def add(key, *events):
        return endpoints.add_webhook(session, key.id, url="https://hooks.example/", events=events)[0].id

    of_all, of_failures = add(owner, *endpoints.EVENTS), add(owner, "job.failed")
    add(stranger, *endpoints.EVENTS)
    endpoints.disable(session, add(owner, *endpoints.EVENTS), DisabledBecause.ASKED)
    session.commit()

    completed, failed = complete(session, owner_id=owner.id), fail(session, owner_id=owner.id)
    complete(session)
    session.commit()

    told = {(each.job_id, each.webhook_id) for each in written()}
    assert told == {(completed, of_all), (failed, of_all), (failed, of_failures)}


def test_each_channel_of_a_job_and_each_endpoint_is_told_by_itself(session, written, owner, webhook):
    complete(session, owner_id=owner.id, notify=NOTIFY | {"email": "me@example.org"})
    session.commit()
    channels = sorted((each.channel, each.webhook_id is not None) for each in written())
    assert channels == [("email", False), ("webhook", False), ("webhook", True)]


def test_what_brings_notifications_tells_nothing_of_itself(session, written, webhook):
    complete(session, owner_id=webhook.owner_id)
    session.commit()
    [told] = written()
    store.fail(session, claim_job(session, told.id), ERROR, None)
    session.commit()
    assert len(written()) == 1


def test_it_is_not_among_the_jobs_of_the_key(session, webhook):
    complete(session, owner_id=webhook.owner_id)
    session.commit()
    count = select(func.count()).where(Job.owner_id == webhook.owner_id)
    assert session.execute(count).scalar_one() == 1
