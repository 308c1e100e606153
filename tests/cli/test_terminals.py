"""What others have written does nothing to the terminal that shows it."""

import pytest

from holdfast.api.examples import ATTEMPTS, JOB, JOB_ID
from holdfast.terminal import as_text, without_controls
from scripted_server import event_stream, json_answer, problem_answer, scripted_server

ATTEMPT = 1_000_000_000
# Sets the title, clears the screen, rings; the same with the controls of Latin-1; turns the writing round.
NASTY = "\x1b]0;owned\x07\x1b[2J\x9d0;owned\x9c\x9b2J\u202e[red]kelp[/red]"
ERROR = {"code": "task_error", "message": NASTY, "stage": None, "attempt": 1}
RUNNING = JOB | {"task": NASTY, "progress": {"current": 1, "total": None, "message": NASTY}}
FAILED = JOB | {"status": "failed", "progress": None, "error": ERROR, "result": NASTY}
PAGE = {"data": [RUNNING], "has_more": False, "first_id": JOB_ID, "last_id": JOB_ID}


@pytest.fixture
def server(environment):
    with scripted_server() as server:
        environment |= {"HOLDFAST_URL": server.url, "HOLDFAST_API_KEY": "hf_00000000_x"}
        yield server


def is_harmless(shown):
    obeyed = ("\x1b]0;", "\x1b[2J", "\x07", "\x9b", "\x9d", "\u202e")
    return "kelp" in shown and not any(control in shown for control in obeyed)


def test_a_job_that_is_watched(run_on_terminal, server):
    told = event_stream(
        (ATTEMPT, "snapshot", RUNNING),
        (ATTEMPT + 1, "job.progress", {"current": 1, "total": 2, "message": NASTY}),
        (ATTEMPT + 2, "output.delta", {"text": NASTY}),
        (ATTEMPT + 999_999_999, "job.failed", FAILED),
    )
    server.script = [json_answer(RUNNING), told, json_answer(FAILED)]
    shown = run_on_terminal("jobs", "watch", JOB_ID)
    assert is_harmless(shown), shown
    assert "[red]kelp[/red]" in shown


@pytest.mark.parametrize(
    ("command", "script"),
    [
        (("jobs", "list"), [json_answer(PAGE)]),
        (("jobs", "show", JOB_ID), [json_answer(FAILED), json_answer(ATTEMPTS)]),
        (("jobs", "show", JOB_ID), [problem_answer(404, "job_not_found", detail=NASTY)]),
    ],
    ids=["a list", "a job", "a refusal"],
)
def test_what_is_shown(run_on_terminal, server, command, script):
    server.script = script
    shown = run_on_terminal(*command)
    assert is_harmless(shown), shown


def test_text_is_shown_as_it_is_but_for_controls():
    text = "Grüße, 海帯\t[b]✓[/b]\n"
    assert without_controls(text) == text
    assert without_controls(NASTY) == "]0;owned[2J0;owned2J[red]kelp[/red]"
    assert as_text(NASTY) == r"]0;owned[2J0;owned2J\[red]kelp\[/red]"
