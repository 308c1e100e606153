"""Small runs of `holdfast chaos`, as a user starts them: everything breaks, nothing is lost or done twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from commands import HOLDFAST, is_alive

SECONDS = 240

pytestmark = pytest.mark.timeout(SECONDS + 30)


@pytest.fixture
def chaos(tmp_path):
    """Run the command in the folder of the tests' own application; returns its exit code and its report."""

    def run(*arguments):
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        done = subprocess.run(
            [HOLDFAST, "chaos", "--json", *arguments],
            cwd=Path(__file__).parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    yield run
    left = [process for process in psutil.process_iter(["environ"]) if _is_of(process, tmp_path)]
    assert [process.cmdline() for process in left if is_alive(process)] == []


def _is_of(process, folder):
    variables = process.info["environ"] or {}
    return process.pid != os.getpid() and variables.get("TMPDIR") == str(folder)


def test_nothing_is_lost_or_doubled_while_everything_breaks(chaos):
    code, report = chaos("--jobs", "60", "--seconds", "30", "--every", "1.2", "--seed", "7")

    assert report["defects"] == dict.fromkeys(report["defects"], 0), report["violations"]
    assert (code, report["clean"]) == (0, True)
    assert report["jobs"] >= 60  # those of uploads come on top
    assert report["kills"] >= 3
    assert report["facts"]["children"] > 0
    assert report["facts"]["batches"] > 0
    assert len(report["injected"]) >= 8


def test_task_of_a_users_own_is_run_under_the_same_faults(chaos):
    task = ("unsafe_app:holdfast", "--task", "summarize", "--args", '{"words": 3}')
    code, report = chaos(*task, "--jobs", "20", "--seconds", "6", "--faults", "kill-worker,kill-child")

    assert (code, report["statuses"]) == (0, {"completed": 20}), report["violations"]
    assert report["kills"] > 0


def test_broken_promise_is_told_by_the_exit_code(chaos):
    task = ("unsafe_app:holdfast", "--task", "tamper", "--args", '{"words": 3}')
    code, report = chaos(*task, "--jobs", "5", "--seconds", "2", "--faults", "deliver-again")

    assert (code, report["clean"]) == (1, False)
    assert report["defects"]["writes by a stale attempt"] == 5


def test_faults_are_listed_and_unknown_ones_refused():
    shown = subprocess.run([HOLDFAST, "chaos", "--list"], capture_output=True, text=True, check=True).stdout
    assert all(name in shown for name in ("kill-worker", "hang-valkey", "cut-postgres", "deliver-again"))

    command = [sys.executable, "-m", "holdfast", "chaos", "--faults", "kill-everybody"]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "no fault kill-everybody" in refused.stderr
