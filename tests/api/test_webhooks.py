"""Endpoints, their secrets and the log over HTTP."""

from uuid import uuid4

import pytest
from sqlalchemy import select

from factories import make_job
from holdfast.jobs.models import Batch, Job
from holdfast.notify import endpoints, log
from holdfast.notify.backend import SEND_TASK
from holdfast.notify.models import NotificationStatus
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio

HOOK = {"url": "https://hooks.example.org/in", "events": ["job.failed", "job.completed"]}


@pytest.fixture
async def webhook(client):
    return (await client.post("/v1/webhooks", json=HOOK)).json()


async def test_webhook_is_registered_and_its_secret_shown_once(client):
    made = await client.post("/v1/webhooks", json=HOOK | {"description": "<b>billing</b>"})
    assert made.status_code == 201
    webhook = made.json()
    assert webhook.pop("secret").startswith("whsec_")
    assert webhook["events"] == ["job.completed", "job.failed"]
    assert (await client.get("/v1/webhooks")).json() == {"data": [webhook]}
    assert (await client.get(f"/v1/webhooks/{webhook['id']}")).json() == webhook


async def test_without_events_it_is_told_all(client):
    made = await client.post("/v1/webhooks", json={"url": HOOK["url"]})
    assert made.json()["events"] == list(endpoints.EVENTS)


@pytest.mark.parametrize(
    "body",
    [
        {"url": "http://hooks.example.org/"},
        {"url": "https://127.0.0.1/"},
        {"url": "https://169.254.169.254/latest"},
        HOOK | {"events": ["job.exploded"]},
    ],
    ids=str,
)
async def test_webhook_that_cannot_be_is_refused(client, body):
    assert_problem(await client.post("/v1/webhooks", json=body), 422, "invalid_arguments")


async def test_key_has_twenty_webhooks_at_most(client):
    for _ in range(endpoints.MAX_WEBHOOKS):
        assert (await client.post("/v1/webhooks", json=HOOK)).status_code == 201
    assert_problem(await client.post("/v1/webhooks", json=HOOK), 409, "too_many_webhooks")


async def test_webhook_is_changed_disabled_enabled_and_removed(client, webhook):
    path = f"/v1/webhooks/{webhook['id']}"
    changed = (await client.patch(path, json={"events": ["batch.ended"]})).json()
    assert (changed["events"], changed["url"]) == (["batch.ended"], HOOK["url"])
    assert_problem(await client.patch(path, json={"url": "http://10.0.0.1/"}), 422, "invalid_arguments")
    disabled = (await client.post(f"{path}/disable")).json()
    assert disabled["disabled_because"] == "asked"
    assert (await client.post(f"{path}/disable")).json() == disabled
    assert (await client.post(f"{path}/enable")).json()["disabled_at"] is None
    assert (await client.delete(path)).status_code == 204
    assert_problem(await client.get(path), 404, "webhook_not_found")


async def test_secret_is_rotated(client, session, webhook, owner):
    rotated = (await client.post(f"/v1/webhooks/{webhook['id']}/rotate?overlap_hours=1")).json()
    assert rotated["secret"] not in ("", webhook["secret"])
    assert len(endpoints.valid_secrets(session, owner.id, webhook["id"])) == 2


async def test_secret_of_webhooks_named_in_jobs_is_made_and_rotated(client, session, owner):
    first = (await client.post("/v1/webhooks/secret")).json()["secret"]
    second = (await client.post("/v1/webhooks/secret")).json()["secret"]
    assert first != second
    assert len(endpoints.valid_secrets(session, owner.id, None)) == 2


async def test_another_keys_webhook_is_refused_and_one_that_is_not_there_is_not_found(stranger, webhook):
    path = f"/v1/webhooks/{webhook['id']}"
    for method, url in (
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/rotate"),
        ("POST", f"{path}/ping"),
        ("POST", f"{path}/enable"),
        ("POST", f"{path}/disable"),
    ):
        body = {"json": {}} if method == "PATCH" else {}
        assert_problem(await stranger.request(method, url, **body), 403, "forbidden")
        missing = url.replace(webhook["id"], str(uuid4()))
        assert_problem(await stranger.request(method, missing, **body), 404, "webhook_not_found")
    assert (await stranger.get("/v1/webhooks")).json() == {"data": []}


async def test_ping_is_written_with_the_job_that_brings_it(client, session, webhook):
    ping = await client.post(f"/v1/webhooks/{webhook['id']}/ping")
    assert ping.status_code == 202
    assert (ping.json()["event"], ping.json()["status"]) == ("webhook.ping", "pending")
    [args] = session.scalars(select(Job.args).where(Job.task == SEND_TASK))
    assert args == {"notification_id": ping.json()["id"]}


async def test_log_is_listed_by_pages_and_filters(client, stranger, session, webhook, owner):
    jobs = [
        make_job(session, status, owner_id=owner.id).id for status in ("completed", "failed", "completed")
    ]
    first = (await client.get("/v1/notifications?limit=2")).json()
    assert [each["job_id"] for each in first["data"]] == [str(jobs[2]), str(jobs[1])]
    assert first["has_more"] is True
    rest = (await client.get(f"/v1/notifications?before={first['last_id']}")).json()
    assert [each["job_id"] for each in rest["data"]] == [str(jobs[0])]
    of_one = (await client.get(f"/v1/notifications?job_id={jobs[1]}&status=pending")).json()
    assert [each["event"] for each in of_one["data"]] == ["job.failed"]
    of_hook = (await client.get(f"/v1/notifications?webhook_id={webhook['id']}&status=failed")).json()
    assert of_hook["data"] == []
    assert (await stranger.get("/v1/notifications")).json()["data"] == []


async def test_notification_is_shown_with_its_tries_and_redelivered(client, session, webhook, owner):
    make_job(session, "completed", owner_id=owner.id)
    [told] = log.list_notifications(session, owner.id, limit=9)
    error = {"code": "timed_out", "message": "There was no answer within 20 s."}
    log.record(session, told.id, log.Tried(told.id, 20.0, None, error))
    log.end(session, told.id, NotificationStatus.FAILED)
    session.commit()

    path = f"/v1/notifications/{told.id}"
    shown = (await client.get(path)).json()
    assert shown["status"] == "failed"
    [tried] = shown["tries"]
    assert (tried["seconds"], tried["status"], tried["error"]) == (20.0, None, error)
    again = await client.post(f"{path}/redeliver")
    assert again.status_code == 202
    assert again.json()["status"] == "pending"
    assert len(session.scalars(select(Job.id).where(Job.task == SEND_TASK)).all()) == 2


async def test_another_keys_notification_is_refused(client, stranger, session, webhook, owner):
    make_job(session, "completed", owner_id=owner.id)
    [told] = log.list_notifications(session, owner.id, limit=9)
    for method, path in (("GET", ""), ("POST", "/redeliver")):
        refused = await stranger.request(method, f"/v1/notifications/{told.id}{path}")
        assert_problem(refused, 403, "forbidden")
        missing = await client.request(method, f"/v1/notifications/{uuid4()}{path}")
        assert_problem(missing, 404, "notification_not_found")


@pytest.fixture
def exposed(holdfast):
    @holdfast.task(exposed=True)
    def work(job) -> None: ...


async def test_job_and_batch_say_whom_to_notify(client, session, exposed):
    notify = {"webhook": {"url": "https://hooks.example.org/in"}}
    job = (await client.post("/v1/jobs", json={"task": "work", "notify": notify})).json()
    assert session.get_one(Job, job["job_id"]).notify == notify
    body = {"task": "work", "jobs": [{}], "notify": notify}
    batch = (await client.post("/v1/batches", json=body)).json()
    assert session.get_one(Batch, batch["batch_id"]).notify == notify


@pytest.mark.parametrize(
    "notify",
    [
        {"webhook": {"url": "http://127.0.0.1/"}},
        {"webhook": "https://hooks.example.org/in"},
        {"webhook": {"url": "https://hooks.example.org/in", "secret": "mine"}},
        {"email": "me@example.org"},
        {"pigeon": "coop"},
    ],
    ids=str,
)
async def test_job_that_names_nobody_who_can_be_told_is_refused(client, exposed, notify):
    for path, more in (("/v1/jobs", {}), ("/v1/batches", {"jobs": [{}]})):
        refused = await client.post(path, json={"task": "work", "notify": notify, **more})
        assert_problem(refused, 422, "invalid_arguments")
