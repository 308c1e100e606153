"""`holdfast queues` and `holdfast workers`, on the database alone."""

import json
import socket

import pytest

from factories import make_job, queue_job, start_job
from holdfast.jobs import workers
from holdfast.jobs.ids import new_id
from holdfast.jobs.workers import WorkerFacts

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _on_the_tests_engines(environment, settings):
    environment["DATABASE_URL"] = settings.database_url
    environment["REDIS_URL"] = settings.redis_url
    environment["HOLDFAST_KEY_PREFIX"] = settings.key_prefix
    # A worker that has said that it lives is to live as long as a test of several commands takes.
    environment["HOLDFAST_LEASE_SECONDS"] = "240"


def say_alive(session, name, *, host=None, is_consuming=True):
    facts = WorkerFacts(host or socket.gethostname(), 7, "prefork", 2, ["default"], 1, is_consuming)
    workers.say_alive(session, name, facts)
    session.commit()


def test_queues_are_listed_paused_and_resumed(run, session):
    queue_job(session, queue="emails")
    listed = run("queues", "list").stdout
    assert "emails" in listed
    assert "No worker takes jobs from emails" in listed
    assert "holdfast worker -Q emails" in listed

    assert run("queues", "pause", "emails").stdout.strip() == "Paused emails."
    assert "was paused already" in run("queues", "pause", "emails").stdout
    assert "paused since" in run("queues", "list").stdout
    assert run("queues", "resume", "emails").stdout.strip() == "Resumed emails."
    assert "paused" not in run("queues", "list").stdout


def test_workers_are_listed(run, session):
    say_alive(session, "w1")
    listed = run("workers").stdout
    assert "w1" in listed
    assert "1/2" in listed
    assert "yes" in listed


def test_check_says_by_its_exit_code_how_workers_are(run, session, environment, port):
    assert run("workers", "check").returncode == 4
    say_alive(session, "elsewhere", host="elsewhere")
    assert run("workers", "check").returncode == 4
    assert run("workers", "check", "--host", "elsewhere").returncode == 0
    say_alive(session, "here-1")
    assert run("workers", "check").returncode == 0
    say_alive(session, "here-2", is_consuming=False)
    assert run("workers", "check").returncode == 3
    assert run("workers", "check", "--name", "here-1").returncode == 0
    environment["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"
    assert run("workers", "check").returncode == 1


def test_top_shows_queues_workers_and_running_jobs_of_all_keys(run, session):
    say_alive(session, "w1")
    running = start_job(session, queue="emails")
    shown = run("top", "--direct").stdout
    assert "emails" in shown
    assert "w1" in shown
    assert str(running.id) in shown
    found = json.loads(run("top", "--direct", "--json").stdout)
    assert [worker["name"] for worker in found["workers"]] == ["w1"]
    assert [job["id"] for job in found["jobs"]] == [str(running.id)]


def test_jobs_of_all_keys_are_listed_shown_watched_and_cancelled_on_the_database(run, session):
    done, waiting = make_job(session, "completed"), queue_job(session)
    listed = json.loads(run("jobs", "list", "--direct", "--json").stdout)
    assert {job["id"] for job in listed["data"]} == {str(done.id), str(waiting)}
    shown = json.loads(run("jobs", "show", str(done.id), "--direct").stdout)
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["completed"]
    assert json.loads(run("jobs", "watch", str(done.id), "--direct").stdout) == {"answer": 42}
    cancelled = json.loads(run("jobs", "cancel", str(waiting), "--direct", "--json").stdout)
    assert [job["status"] for job in cancelled["data"]] == ["cancelled"]
    assert "job_not_found" in run("jobs", "show", str(new_id()), "--direct").stderr


def test_what_operators_see_is_json_for_programs(run, session):
    say_alive(session, "w1")
    assert json.loads(run("queues", "pause", "emails", "--json").stdout)["paused_at"]
    assert [queue["name"] for queue in json.loads(run("queues", "list", "--json").stdout)["data"]] == [
        "default",
        "emails",
    ]
    assert json.loads(run("workers", "--json").stdout)["data"][0]["name"] == "w1"
    checked = run("workers", "check", "--json")
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["data"][0]["running"] == 1
    made = json.loads(run("keys", "create", "alice", "--json").stdout)
    assert made["key"].startswith("hf_")
    (key,) = json.loads(run("keys", "list", "--json").stdout)["data"]
    assert (key["name"], key["revoked_at"]) == ("alice", None)
    assert json.loads(run("keys", "revoke", key["prefix"], "--json").stdout)["revoked"]


def test_a_key_is_made_with_a_scope(run):
    run("keys", "create", "operator", "--scope", "admin")
    assert "admin" in run("keys", "list").stdout
    assert run("keys", "create", "operator", "--scope", "everything").returncode == 2
