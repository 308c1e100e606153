"""Following a job's events over connections that break."""

import pytest

from holdfast.api.examples import JOB, JOB_ID
from holdfast.errors import (
    ApiUnreachable,
    ConfigurationError,
    EventsUnavailable,
    RequestRefused,
    WaitTimedOut,
)
from holdfast.states import JobStatus
from scripted_server import Answer, event_stream, json_answer, problem_answer

ATTEMPT = 1_000_000_000
SNAPSHOT = (ATTEMPT, "snapshot", JOB)
ENDED = JOB | {"progress": None, "completed_at": JOB["created_at"]}
DONE = ENDED | {"status": "completed", "result": {"words": 7}}
NO_TEXT = {"code": "no_text", "message": "There is no text.", "stage": "read", "attempt": 1}
FAILED = ENDED | {"status": "failed", "error": NO_TEXT}


def delta(number, text):
    return (ATTEMPT + number, "output.delta", {"text": text})


def end(name="completed"):
    return (ATTEMPT + 999_999_999, f"job.{name}", {})


@pytest.fixture
def job(scripted):
    return scripted.job(JOB_ID)


def test_events_come_in_order_until_the_job_has_ended(job, server):
    server.script = [event_stream(SNAPSHOT, delta(1, "a"), (ATTEMPT + 2, "page.read", {"page": 9}), end())]
    events = list(job.events())

    assert [event.name for event in events] == ["snapshot", "output.delta", "page.read", "job.completed"]
    assert events[0].job.status is JobStatus.PROCESSING
    assert events[1].job is None
    assert events[2].data == {"page": 9}
    assert events[3].is_end
    assert server.asked[0].path == f"/v1/jobs/{JOB_ID}/events"
    assert server.asked[0].headers["Accept"] == "text/event-stream"
    assert "Last-Event-ID" not in server.asked[0].headers


@pytest.mark.parametrize("breaks", [True, False], ids=["cut off", "closed"])
def test_a_stream_that_breaks_is_resumed_and_nothing_is_told_twice(job, server, breaks):
    server.script = [
        event_stream(SNAPSHOT, delta(1, "a"), delta(2, "b"), breaks=breaks),
        json_answer(JOB),
        problem_answer(503, "database_unavailable", retryable=True, Retry_After="0"),
        json_answer(JOB),
        event_stream(delta(2, "b"), delta(3, "c"), end()),
    ]
    events = list(job.events())

    assert [event.data.get("text") for event in events if event.name == "output.delta"] == ["a", "b", "c"]
    assert [event.name for event in events].count("snapshot") == 1
    resumed = [asked for asked in server.asked if asked.path.endswith("/events")][1:]
    assert {asked.headers["Last-Event-ID"] for asked in resumed} == {str(ATTEMPT + 2)}


def test_events_that_were_lost_are_made_up_for_by_another_snapshot(job, server):
    server.script = [
        event_stream(SNAPSHOT),
        json_answer(JOB),
        event_stream((ATTEMPT, "snapshot", JOB), (2 * ATTEMPT, "job.started", {}), breaks=True),
        json_answer(JOB),
        event_stream((5, "snapshot", JOB), (6, "job.failed", {})),
    ]
    names = [(event.id, event.name) for event in job.events()]
    assert names == [
        (ATTEMPT, "snapshot"),
        (ATTEMPT, "snapshot"),
        (2 * ATTEMPT, "job.started"),
        (5, "snapshot"),
        (6, "job.failed"),
    ]


def test_events_from_a_known_one_on(job, server):
    server.script = [event_stream(delta(6, "f"), end())]
    assert [event.id for event in job.events(after=ATTEMPT + 5)] == [ATTEMPT + 6, end()[0]]
    assert server.asked[0].headers["Last-Event-ID"] == str(ATTEMPT + 5)


@pytest.mark.parametrize("nothing", [event_stream(), Answer(204)], ids=["an empty stream", "no content"])
def test_a_job_that_ended_while_nobody_looked_is_told_as_it_stands(job, server, nothing):
    server.script = [nothing, json_answer(DONE)]
    (event,) = job.events(after=end()[0])
    assert event.job.status is JobStatus.COMPLETED


@pytest.mark.parametrize("answer", [problem_answer(404, "not_found"), Answer(406), json_answer(JOB)])
def test_an_api_without_events_is_told(job, server, answer):
    server.script = [answer]
    with pytest.raises(EventsUnavailable):
        list(job.events())


def test_events_of_a_job_that_is_not_there_are_refused(job, server):
    server.script = [problem_answer(404, "job_not_found", detail="No job has this id.")]
    with pytest.raises(RequestRefused, match="No job has this id") as raised:
        list(job.events())
    assert not isinstance(raised.value, EventsUnavailable)


def test_patience_ends_while_the_stream_breaks_again_and_again(connect, server):
    server.script = [event_stream(breaks=True)]
    with pytest.raises(ApiUnreachable):
        list(connect(server.url, patience=0).job(JOB_ID).events())


def test_events_of_somebody_else_are_told(job, server):
    server.script = [Answer(200, b"data: [1]\n\n", {"Content-Type": "text/event-stream"})]
    with pytest.raises(ConfigurationError, match="is not Holdfast"):
        list(job.events())


def test_events_of_all_jobs_are_told_with_no_end(scripted, server):
    told = {"job_id": JOB_ID, "task": "paint", "status": "completed", "attempt": 1}
    server.script = [event_stream((5, "job.completed", told)), event_stream((3, "job.completed", told))]
    events = scripted.events(task="paint", status=JobStatus.COMPLETED)
    assert [next(events).id, next(events).id] == [5, 3]
    events.close()
    assert server.asked[0].path == "/v1/events?task=paint&status=completed"


def test_waiting_asks_for_an_answer_that_is_held_back_until_the_end(job, server):
    server.script = [json_answer(JOB, Retry_After="0"), json_answer(DONE)]
    assert job.wait().result == {"words": 7}
    assert [asked.path for asked in server.asked] == [f"/v1/jobs/{JOB_ID}?wait=25"] * 2


def test_waiting_goes_on_while_the_server_is_started_again(job, server):
    server.script = [Answer(200, b"{", breaks=True), Answer(502), json_answer(DONE)]
    assert job.wait().status is JobStatus.COMPLETED


def test_waiting_ends_when_its_time_is_over(job, server):
    server.script = [json_answer(JOB, Retry_After="60")]
    with pytest.raises(WaitTimedOut):
        job.wait(timeout=0.05)
    with pytest.raises(TimeoutError):
        job.result(timeout=0.05, progress=True)


def test_result_is_what_the_task_returned(job, server):
    server.script = [json_answer(DONE)]
    assert job.result() == {"words": 7}


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        (FAILED, "JobFailed"),
        (FAILED | {"error": NO_TEXT | {"code": "timeout"}}, "TimedOut"),
        (FAILED | {"error": NO_TEXT | {"code": "deadline_exceeded"}}, "DeadlineExceeded"),
        (FAILED | {"error": NO_TEXT | {"code": "expired"}}, "Expired"),
        (JOB | {"status": "cancelled"}, "JobCancelled"),
    ],
)
def test_result_of_a_job_that_did_not_complete_is_its_error(job, server, shown, name):
    server.script = [json_answer(shown)]
    with pytest.raises(Exception, match=r"text|asked to stop") as raised:
        job.result()
    assert type(raised.value).__name__ == name
    assert raised.value.code == (shown["error"] or {"code": "cancelled"})["code"]


def test_progress_is_drawn_from_events(job, server, capsys):
    progress = (ATTEMPT + 1, "job.progress", {"current": 40, "total": 129, "message": "[b]indexing"})
    server.script = [event_stream(SNAPSHOT, progress, end()), json_answer(DONE)]
    assert job.wait(progress=True).status is JobStatus.COMPLETED
    shown = capsys.readouterr()
    assert "40/129" in shown.err
    assert "[b]indexing" in shown.err
    assert not shown.out


def test_progress_is_asked_for_where_there_are_no_events(job, server, capsys):
    server.script = [problem_answer(404, "not_found"), json_answer(JOB, Retry_After="0"), json_answer(DONE)]
    assert job.wait(progress=True).status is JobStatus.COMPLETED
    assert "40/129" in capsys.readouterr().err
    assert [asked.path for asked in server.asked[1:]] == [f"/v1/jobs/{JOB_ID}"] * 2
