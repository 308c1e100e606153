"""`holdfast up`: everything in one terminal, and nothing left of it afterwards."""

import contextlib
import json
import re
import signal
import subprocess

import psutil
import pytest

from commands import HOLDFAST, is_alive, processes_of
from waiting import wait_for

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def up(folder, environment, port):
    """A running `holdfast up`, in a session of its own as in a terminal of its own."""
    environment["HOLDFAST_URL"] = f"http://127.0.0.1:{port}"
    output = folder / "up.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [HOLDFAST, "up", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    wait_for(lambda: "In another terminal" in output.read_text(), "the greeting", seconds=120)
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(60)


def test_a_document_is_ingested_searched_and_listed(up, run, folder):
    (folder / "kelp.md").write_text("# Anchors\n\nA holdfast anchors kelp to rock through a storm.\n")
    ingested = run("ingest", "kelp.md", "--collection", "sea")
    assert ingested.returncode == 0, ingested.stdout + ingested.stderr
    assert "kelp.md 1 chunks" in ingested.stdout
    found = json.loads(run("search", "what anchors kelp", "--collection", "sea", "--json").stdout)
    assert found["mode"] == "lexical"
    assert [hit["document"] for hit in found["data"]] == ["kelp.md"]
    (job,) = json.loads(run("jobs", "list", "--json").stdout)["data"]
    assert job["status"] == "completed"
    assert json.loads(run("jobs", "show", job["id"]).stdout)["result"]["chunks"] == 1
    watched = run("jobs", "watch", job["id"])
    assert watched.returncode == 0
    assert '"chunks": 1' in watched.stdout


def test_a_document_that_cannot_be_read_is_told_with_exit_code_1(up, run, folder):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing more")
    ingested = run("ingest", "broken.pdf")
    assert ingested.returncode == 1
    assert "broken.pdf malformed" in ingested.stdout


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_all_it_started(up, folder, sign):
    started = psutil.Process(up.pid).children(recursive=True) + processes_of(folder)
    assert len(started) >= 4  # API, worker, PostgreSQL, Valkey; and the workers' children
    up.send_signal(sign)
    assert up.wait(60) == 0
    wait_for(lambda: not any(is_alive(process) for process in started), "the end of all processes")


def test_a_worker_that_dies_is_started_again(up, run, folder):
    def worker():
        for child in psutil.Process(up.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # a zombie has no command line
                if "worker" in child.cmdline():
                    return child
        return None

    first = wait_for(worker, "the worker")
    first.kill()
    wait_for(lambda: (now := worker()) and now.pid != first.pid, "another worker", seconds=60)
    (folder / "note.txt").write_text("still at work")
    assert run("ingest", "note.txt").returncode == 0


def test_a_valkey_that_dies_is_started_again(up, run, folder):
    def valkey():
        found = (process for process in processes_of(folder) if "valkey-server" in process.name())
        return next(found, None)

    first = wait_for(valkey, "Valkey")
    first.kill()
    wait_for(lambda: (now := valkey()) and now.pid != first.pid, "another Valkey", seconds=60)
    (folder / "note.txt").write_text("still at work")
    assert run("ingest", "note.txt").returncode == 0


def test_the_key_is_shown_once_and_kept_for_the_owner_alone(up, run, folder):
    (shown,) = re.findall(r"hf_[0-9a-f]{8}_\S+", (folder / "up.log").read_text())
    kept = folder / "data" / "api-key"
    assert kept.read_text().strip() == shown
    assert kept.stat().st_mode & 0o077 == 0
    assert shown not in run("keys", "list").stdout


def test_a_port_that_is_taken_is_told(up, run, port):
    again = run("up", "--port", str(port))
    assert again.returncode == 1
    assert f"Port {port} of 127.0.0.1 cannot be used" in again.stderr


@pytest.fixture
def _behind_a_proxy(environment):
    environment["HTTP_PROXY"] = environment["http_proxy"] = "http://127.0.0.1:1"
    environment.pop("NO_PROXY", None)
    environment.pop("no_proxy", None)


@pytest.mark.usefixtures("_behind_a_proxy")
def test_a_proxy_is_not_asked_for_this_machine(request, run):
    request.getfixturevalue("up")
    assert run("jobs", "list").returncode == 0
