"""`holdfast jobs watch`, against a server that follows a script."""

import json

import pytest

from holdfast.api.examples import JOB, JOB_ID
from scripted_server import event_stream, json_answer, problem_answer, scripted_server

ATTEMPT = 1_000_000_000
DONE = JOB | {"status": "completed", "progress": None, "result": {"words": 7}}
ERROR = {"code": "no_text", "message": "There is no text.", "stage": "read", "attempt": 1}
FAILED = JOB | {"status": "failed", "error": ERROR}


@pytest.fixture
def server(environment):
    with scripted_server() as server:
        environment |= {"HOLDFAST_URL": server.url, "HOLDFAST_API_KEY": "hf_00000000_x"}
        yield server


def told(*events, end="job.completed"):
    numbered = [(ATTEMPT + number, name, data) for number, (name, data) in enumerate(events, start=1)]
    return event_stream((ATTEMPT, "snapshot", JOB), *numbered, (ATTEMPT + 999_999_999, end, {}))


def test_what_a_job_streams_goes_to_stdout_and_its_progress_to_stderr(run, server):
    deltas = [("output.delta", {"text": "Kelp "}), ("output.delta", {"text": "grows.\x1b[2J"})]
    progress = ("job.progress", {"current": 7, "total": 9, "message": "[b]reading"})
    server.script = [json_answer(JOB), told(progress, *deltas), json_answer(DONE)]
    watched = run("jobs", "watch", JOB_ID)
    assert watched.returncode == 0, watched.stderr
    assert watched.stdout == 'Kelp grows.\x1b[2J\n{\n  "words": 7\n}\n'
    assert "7/9" in watched.stderr
    assert "[b]reading" in watched.stderr


def test_events_are_lines_of_json_for_programs(run, server):
    server.script = [json_answer(JOB), told(("page.read", {"page": 9})), json_answer(DONE)]
    lines = [json.loads(line) for line in run("jobs", "watch", JOB_ID, "--json").stdout.splitlines()]
    assert [line.get("event") for line in lines] == ["snapshot", "page.read", "job.completed", None]
    assert lines[1] == {"id": ATTEMPT + 2 - 1, "event": "page.read", "data": {"page": 9}}
    assert lines[-1]["result"] == {"words": 7}


@pytest.mark.parametrize(
    ("job", "code", "printed"), [(FAILED, 3, "no_text"), (JOB | {"status": "cancelled"}, 4, "null")]
)
def test_exit_code_says_how_the_job_ended(run, server, job, code, printed):
    server.script = [json_answer(job)]
    watched = run("jobs", "watch", JOB_ID)
    assert watched.returncode == code
    assert printed in watched.stdout


def test_without_events_the_job_is_looked_at_until_the_timeout(run, server):
    server.script = [json_answer(JOB), problem_answer(404, "not_found"), json_answer(JOB)]
    watched = run("jobs", "watch", JOB_ID, "--timeout", "0.1")
    assert watched.returncode == 5
    assert len(server.asked) >= 3


def test_a_job_that_is_not_there_is_an_error(run, server):
    server.script = [problem_answer(404, "job_not_found", detail="No job has this id.")]
    watched = run("jobs", "watch", JOB_ID)
    assert watched.returncode == 1
    assert "job_not_found" in watched.stderr
