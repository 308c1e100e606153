"""What receivers of webhooks get, as the package `standardwebhooks` checks it, and what their answers do."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from factories import ERROR, make_job, start_job
from holdfast.jobs import keys, store
from holdfast.jobs.models import ApiKey, Job
from holdfast.notify import endpoints
from holdfast.notify.backend import WAITS, verdict_on
from holdfast.notify.channel import NotSent
from holdfast.notify.signing import shown_secret
from holdfast.testing import run_job


@pytest.fixture
def end(session, webhook, written):
    """Let a job of the endpoint's owner end; returns its notification."""

    def end(status="completed", **job):
        make_job(session, status, owner_id=webhook.owner_id, **job)
        return written()[-1]

    return end


def secret_of(session, owner_id, webhook_id=None):
    session.rollback()
    return shown_secret(endpoints.valid_secrets(session, owner_id, webhook_id)[0])


def verified(secret, came):
    return Verifier(secret).verify(came.body, came.headers)


def test_webhook_is_signed_as_standard_webhooks_has_it(session, webhook, end, bring, receiver, tries):
    told = end(metadata={"order": 7})
    assert bring(told).status == "completed"

    [came] = receiver.came
    content = verified(secret_of(session, webhook.owner_id, webhook.id), came)
    assert came.path == "/hook"
    assert came.headers["content-type"] == "application/json"
    assert came.headers["webhook-id"] == f"msg_{told.id.hex}"
    assert content["type"] == "job.completed"
    assert content["data"]["id"] == str(told.job_id)
    assert content["data"]["status"] == "completed"
    assert content["data"]["metadata"] == {"order": 7}
    assert content["data"]["url"] == f"/v1/jobs/{told.job_id}"
    assert {"args", "result"}.isdisjoint(content["data"])
    [tried] = tries(told)
    assert (tried.status, tried.error) == (204, None)
    session.refresh(told)
    assert told.status == "delivered"


def test_forged_body_and_other_secret_are_refused_by_the_receiver(session, webhook, end, bring, receiver):
    bring(end())
    [came] = receiver.came
    secret = secret_of(session, webhook.owner_id, webhook.id)
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(came.body.replace(b"completed", b"cancelled"), came.headers)
    with pytest.raises(WebhookVerificationError):
        verified(shown_secret(b"x" * 32), came)


def test_while_a_secret_is_replaced_both_are_good_and_an_older_one_is_not(
    session, webhook, end, bring, receiver, holdfast_clock
):
    oldest = secret_of(session, webhook.owner_id, webhook.id)
    old = shown_secret(endpoints.rotate(session, webhook.owner_id, webhook.id))
    new = shown_secret(endpoints.rotate(session, webhook.owner_id, webhook.id))
    session.commit()
    bring(end())
    came = receiver.came[-1]
    assert len(came.headers["webhook-signature"].split()) == 2
    assert verified(new, came) == verified(old, came)
    with pytest.raises(WebhookVerificationError):
        verified(oldest, came)

    holdfast_clock.advance(endpoints.OVERLAP)
    bring(end())
    assert verified(new, receiver.came[-1])
    with pytest.raises(WebhookVerificationError):
        verified(old, receiver.came[-1])


def test_url_of_a_job_is_signed_with_the_secret_of_its_key(
    session, notifications, owner, url, written, bring, receiver
):
    new = shown_secret(endpoints.rotate(session, owner.id, None))
    make_job(session, "failed", owner_id=owner.id, notify={"webhook": {"url": url}})
    bring(written()[0])
    content = verified(new, receiver.came[0])
    assert content["data"]["error"] == {"code": "task_error", "message": ERROR["message"], "stage": None}


def test_job_without_owner_is_told_as_well(session, notifications, url, written, bring, receiver):
    make_job(session, "completed", notify={"webhook": {"url": url}})
    bring(written()[0])
    assert verified(secret_of(session, None), receiver.came[0])


def test_body_stays_thin_whatever_the_job_holds(session, webhook, written, bring, receiver):
    claim = start_job(session, owner_id=webhook.owner_id, metadata={"long": "\N{SNOWMAN}" * 9_000})
    store.fail(session, claim, {**ERROR, "message": "\N{SNOWMAN}" * 2_000}, None)
    session.commit()
    bring(written()[0])
    [came] = receiver.came
    assert len(came.body) < 20_000
    data = came.content["data"]
    assert data["metadata"] is None
    assert data["metadata_is_too_long"] is True
    assert len(data["error"]["message"]) == 500


def test_refusal_is_tried_again_under_the_same_id(session, end, bring, receiver, tries):
    receiver.answer_next(status=500, body=b"out of order")
    told = end()
    row = bring(told)
    assert row.status == "queued"
    assert row.error["code"] == "refused"
    assert timedelta(seconds=5) <= row.run_at - row.started_at < timedelta(seconds=10)

    # Not by the clock, which would move the times that are told as well.
    session.execute(update(Job).where(Job.id == row.id).values(run_at=Job.created_at))
    session.commit()
    assert bring(told).status == "completed"
    first, second = receiver.came
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert [(each.status, each.answer) for each in tries(told)] == [(500, "out of order"), (204, None)]


def test_ten_tries_take_about_three_days():
    waits = [verdict_on(NotSent(), tries, "job.failed").wait for tries in range(1, 10)]
    assert all(wait >= asked for wait, asked in zip(waits, WAITS, strict=True))
    assert timedelta(days=3) <= sum(WAITS, timedelta()) <= timedelta(days=3.5)
    given_up = verdict_on(NotSent(), 10, "job.failed")
    assert (given_up.status, given_up.wait) == ("failed", None)


def test_receiver_that_asks_for_a_longer_wait_is_given_it(end, bring, receiver):
    receiver.answer_next(status=503, headers={"Retry-After": "120"})
    row = bring(end())
    assert timedelta(seconds=120) <= row.run_at - row.started_at < timedelta(seconds=130)


def test_endpoint_that_is_gone_is_disabled_and_told_nothing_more(
    session, webhook, end, bring, receiver, written
):
    waiting = end()
    receiver.answer_next(status=410)
    gone = end("failed")
    assert bring(gone).status == "failed"
    session.refresh(webhook)
    assert webhook.disabled_because == "gone"

    assert bring(waiting).result == "nothing to tell"
    session.refresh(waiting)
    assert waiting.status == "discarded"
    make_job(session, "completed", owner_id=webhook.owner_id)
    assert len(written()) == 2
    assert len(receiver.came) == 1


def test_endpoint_that_nothing_reaches_for_three_days_is_disabled(
    session, webhook, end, bring, receiver, tries, holdfast_clock
):
    for _ in range(len(WAITS) + 1):
        receiver.answer_next(status=500)
    told = end()
    while bring(told).status == "queued":
        holdfast_clock.advance(timedelta(hours=30))
    session.refresh(told)
    session.refresh(webhook)
    assert len(tries(told)) == 10
    assert told.status == "failed"
    assert webhook.disabled_because == "failing"


def test_revoked_key_is_told_nothing_more(session, webhook, end, bring, receiver):
    told = end()
    keys.revoke_key(session, session.get(ApiKey, webhook.owner_id).prefix)
    session.commit()
    bring(told)
    assert told.status == "discarded"
    assert receiver.came == []


def test_ping_is_told_once_and_disables_nothing(session, notifications, webhook, bring, receiver):
    receiver.answer_next(status=500)
    ping = notifications.ping(session, webhook)
    session.commit()

    assert bring(ping).status == "failed"
    [came] = receiver.came
    assert (came.content["type"], came.content["data"]) == ("webhook.ping", {"webhook_id": str(webhook.id)})
    session.refresh(webhook)
    assert (ping.status, webhook.disabled_at) == ("failed", None)


def test_what_was_given_up_is_brought_again_under_the_same_id(
    session, notifications, end, bring, receiver, tries
):
    receiver.answer_next(status=410)
    told = end()
    bring(told)
    endpoints.enable(session, told.webhook_id)
    notifications.redeliver(session, told)
    session.commit()

    assert bring(told).status == "completed"
    assert told.status == "delivered"
    first, second = receiver.came
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [each.status for each in tries(told)] == [410, 204]


def test_what_was_delivered_meanwhile_is_not_brought_again_by_the_job_that_waited(
    session, notifications, end, bring, receiver, holdfast, holdfast_clock
):
    receiver.answer_next(status=500)
    told = end()
    bring(told)
    notifications.redeliver(session, told)
    session.commit()
    bring(told)
    holdfast_clock.advance(timedelta(seconds=10))
    assert run_job(holdfast, told.id).result == "nothing to tell"
    assert len(receiver.came) == 2


def test_what_was_delivered_stays_so_whatever_an_earlier_try_comes_to(
    session, notifications, end, bring, receiver, holdfast, tries
):
    told = end()
    errand = notifications._begin(told.id)
    bring(told)
    assert notifications._settle(errand, told.id, NotSent(is_final=True), 1.0).status == "failed"
    session.refresh(told)
    assert told.status == "delivered"
    assert len(tries(told)) == 2


def test_webhook_that_is_removed_while_it_is_told_leaves_nothing_to_write(
    session, notifications, webhook, end, tries
):
    told = end()
    errand = notifications._begin(told.id)
    endpoints.remove(session, webhook.id)
    session.commit()
    assert notifications._settle(errand, told.id, None, 1.0).status == "discarded"
