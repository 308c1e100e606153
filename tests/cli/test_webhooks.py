"""`holdfast webhooks` against a running API, with a worker that brings what it asks for."""

import json
import subprocess

import pytest
from standardwebhooks import Webhook

from commands import HOLDFAST, is_ready
from factories import make_job, make_owner
from simulated_receiver import SimulatedReceiver
from waiting import wait_for

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def receiver():
    with SimulatedReceiver() as receiver:
        yield receiver


@pytest.fixture
def owner(environment, port, settings, session, folder):
    """The owner of the key that the commands use; API and worker run."""
    environment |= {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "HOLDFAST_KEY_PREFIX": settings.key_prefix,
        "HOLDFAST_URL": f"http://127.0.0.1:{port}",
        "HOLDFAST_WEBHOOK_ALLOW": "127.0.0.1",
    }
    owner, environment["HOLDFAST_API_KEY"] = make_owner(session)
    commands = (["api", "--port", str(port)], ["worker", "-c", "4", "--hostname", "notify@test"])
    with (folder / "server.log").open("wb") as log:
        processes = [
            subprocess.Popen([HOLDFAST, *command], cwd=folder, env=environment, stdout=log, stderr=log)
            for command in commands
        ]
    wait_for(lambda: is_ready(port), "the API", seconds=120)
    yield owner
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(60)


def test_webhook_is_registered_tried_told_and_told_again(run, session, owner, receiver):
    added = run("webhooks", "add", f"http://127.0.0.1:{receiver.port}/in", "--event", "job.failed")
    webhook, secret = added.stdout.split()
    assert webhook in run("webhooks", "list").stdout

    run("webhooks", "ping", webhook)
    wait_for(lambda: receiver.came, "the ping", seconds=120)
    assert receiver.came[0].content["type"] == "webhook.ping"

    make_job(session, "completed", owner_id=owner.id)
    job_id = make_job(session, "failed", owner_id=owner.id).id
    wait_for(lambda: len(receiver.came) == 2, "the job's end")
    came = receiver.came[1]
    assert Webhook(secret).verify(came.body, came.headers)["data"]["id"] == str(job_id)

    def log():
        return json.loads(run("webhooks", "log", "--job", str(job_id), "--json").stdout)["data"]

    wait_for(lambda: log()[0]["status"] == "delivered", "the log")
    [told] = log()
    assert "delivered" in run("webhooks", "log").stdout
    assert json.loads(run("webhooks", "show", told["id"]).stdout)["tries"][0]["status"] == 204
    run("webhooks", "redeliver", told["id"])
    wait_for(lambda: len(receiver.came) == 3, "the same once more")
    assert receiver.came[2].headers["webhook-id"] == came.headers["webhook-id"]

    assert run("webhooks", "rotate", webhook).stdout.startswith("whsec_")
    assert run("webhooks", "secret").stdout.startswith("whsec_")
    run("webhooks", "disable", webhook)
    assert "disabled: asked" in run("webhooks", "list").stdout
    run("webhooks", "enable", webhook)
    run("webhooks", "remove", webhook)
    assert webhook not in run("webhooks", "list").stdout


def test_refusal_is_one_line(run, owner):
    refused = run("webhooks", "add", "https://10.0.0.1/")
    assert refused.returncode == 1
    assert "invalid_arguments" in refused.stderr
