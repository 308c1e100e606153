"""The README's example is the file it names, and does what it says."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from waiting import wait_for

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "summaries.py"


def test_readme_shows_the_example_as_it_is():
    shown = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == EXAMPLE.read_text().strip()


@pytest.fixture
def environment(settings, tmp_path):
    """What the commands of the example are run with."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return {
        **inherited,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "HOLDFAST_KEY_PREFIX": settings.key_prefix,
        "HOLDFAST_HOME": str(tmp_path),
        "HOLDFAST_APP": "summaries:holdfast",
    }


@pytest.fixture
def started(environment):
    """Start programs of the virtual environment in the example's folder; they end with the test."""
    programs = []

    def start(name, *arguments):
        command = [str(BIN / name), *arguments]
        programs.append(subprocess.Popen(command, cwd=EXAMPLE.parent, env=environment))
        return programs[-1]

    yield start
    for program in programs:
        program.terminate()
    for program in programs:
        program.wait(30)


def test_example_runs_as_the_readme_says(environment, started):
    def holdfast(*arguments):
        command = [str(BIN / "holdfast"), *arguments]
        done = subprocess.run(
            command, cwd=EXAMPLE.parent, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    holdfast("migrate")
    key = holdfast("keys", "create", "me")
    port = free_port()
    started("uvicorn", "summaries:app", "--port", str(port))
    started("celery", "-A", "summaries:celery", "worker", "--concurrency=2")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": key}) as client:
        accepted = wait_for(lambda: answer(client, "words " * 50), "the example's API", seconds=90)
        assert accepted.status_code == 202

        def finished():
            job = client.get(accepted.json()["urls"]["job"]).json()
            return job if job["completed_at"] else None

        job = wait_for(finished, "the end of the job", seconds=90)
    assert job["status"] == "completed"
    assert job["result"] == {"text": " ".join(["words"] * 10), "words": 50}


def answer(client, text):
    try:
        return client.post("/v1/summaries", json={"text": text})
    except httpx.TransportError:
        return None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
