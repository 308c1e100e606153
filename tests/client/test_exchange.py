"""What is tried again, for how long, and as which error it comes back."""

import httpx
import pytest

from holdfast.client import calls
from holdfast.client.effects import Course, Pause, Send
from holdfast.client.exchange import Patience, exchange
from holdfast.client.refusals import retry_after
from holdfast.errors import (
    ApiUnreachable,
    ConfigurationError,
    DatabaseUnavailable,
    IdempotencyConflict,
    InvalidArguments,
    NotRetryable,
    ProviderError,
    RequestRefused,
    UnknownTask,
)
from scripted_server import Answer, json_answer, problem_answer

ACCEPTED = {"job_id": "01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80", "status": "queued", "created": True}


@pytest.mark.parametrize(
    "passing",
    [
        problem_answer(503, "database_unavailable", retryable=True, Retry_After="0"),
        Answer(502, b"<h1>Bad gateway</h1>"),
        Answer(200, b'{"job', breaks=True),
    ],
    ids=["told to come again", "a proxy's", "cut off"],
)
def test_what_fails_in_passing_is_asked_again_with_the_same_key(scripted, server, passing):
    server.script = [passing, passing, json_answer(ACCEPTED, 202)]
    job = scripted.submit("paint", {"wall": 3})

    assert str(job.id) == ACCEPTED["job_id"]
    assert len(server.asked) == 3
    assert len({asked.headers["Idempotency-Key"] for asked in server.asked}) == 1
    assert {asked.body for asked in server.asked} == {b'{"task": "paint", "args": {"wall": 3}}'}


def test_two_requests_have_two_keys_unless_one_is_given(scripted, server):
    server.script = [json_answer(ACCEPTED, 202)]
    for key in (None, None, "order-1", "order-1"):
        scripted.submit("paint", idempotency_key=key)
    keys = [asked.headers["Idempotency-Key"] for asked in server.asked]
    assert len(set(keys)) == 3
    assert keys[2:] == ["order-1", "order-1"]


def test_upload_is_sent_whole_again(scripted, server, tmp_path):
    (tmp_path / "kelp.txt").write_text("Kelp grows fast.")
    server.script = [
        Answer(503),
        json_answer(ACCEPTED | {"document_id": ACCEPTED["job_id"], "urls": {}}, 202),
    ]
    whom = {"email": "me@example.org"}
    job = scripted.ingest(tmp_path / "kelp.txt", "plants", name="a/b.txt", notify=whom)

    assert str(job.document_id) == ACCEPTED["job_id"]
    assert [b"Kelp grows fast." in asked.body for asked in server.asked] == [True, True]
    assert all(b'{"email": "me@example.org"}' in asked.body for asked in server.asked)
    assert all(b"plants" in asked.body and b'filename="a/b.txt"' in asked.body for asked in server.asked)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("idempotency_conflict", 422, IdempotencyConflict),
        ("invalid_arguments", 422, InvalidArguments),
        ("unknown_task", 404, UnknownTask),
        ("not_retryable", 409, NotRetryable),
        ("provider_error", 502, ProviderError),
        ("forbidden", 403, RequestRefused),
        ("something_new", 418, RequestRefused),
    ],
)
def test_refusal_comes_back_as_the_error_that_it_stands_for(scripted, server, code, status, error):
    server.script = [problem_answer(status, code, detail="So it is.")]
    with pytest.raises(error, match="So it is") as raised:
        scripted.get_job(ACCEPTED["job_id"])

    assert type(raised.value) is error
    assert raised.value.code == code
    assert raised.value.__notes__ == [f"HTTP status {status}, request r-1"]
    assert len(server.asked) == 1


def test_arguments_that_do_not_fit_are_named(scripted, server):
    misfit = {"location": ["body", "args", "wall"], "message": "Field required", "type": "missing"}
    server.script = [problem_answer(422, "invalid_arguments", errors=[misfit])]
    with pytest.raises(InvalidArguments) as raised:
        scripted.submit("paint")
    assert raised.value.arguments[0].location == ("body", "args", "wall")


@pytest.mark.parametrize(
    "options",
    [{"priority": 10}, {"delay": -1}, {"args": {"wall": float("nan")}}, {"args": {"wall": object()}}],
)
def test_what_cannot_be_right_is_not_sent(scripted, server, options):
    with pytest.raises(InvalidArguments):
        scripted.submit("paint", **options)
    assert not server.asked


def test_answers_of_somebody_else_are_told(scripted, server):
    server.script = [Answer(200, b"<h1>It works!</h1>")]
    with pytest.raises(ConfigurationError, match="is not Holdfast"):
        scripted.get_job(ACCEPTED["job_id"])
    server.script = [Answer(404, b"[]")]
    with pytest.raises(RequestRefused, match="HTTP status 404"):
        scripted.get_job(ACCEPTED["job_id"])


def test_without_patience_nothing_is_tried_again(connect, server):
    server.script = [problem_answer(503, "database_unavailable", retryable=True, detail="Away.")]
    with pytest.raises(DatabaseUnavailable, match="Away"):
        connect(server.url, patience=0).list_queues()
    with pytest.raises(ApiUnreachable, match=r"http://127\.0\.0\.1:1 does not answer"):
        connect("http://127.0.0.1:1", patience=0).list_queues()
    assert len(server.asked) == 1


def test_client_comes_again_when_it_is_told_to():
    course = Course(exchange(calls.list_queues(), Patience(60)))
    assert isinstance(course.effect, Send)
    course.went(httpx.Response(429, headers={"Retry-After": "17"}))
    assert course.effect == Pause(17.0)
    course.went(None)
    assert isinstance(course.effect, Send)
    with pytest.raises(RequestRefused) as raised:
        # Later than the patience lasts: nothing is gained by waiting until then.
        course.went(httpx.Response(429, headers={"Retry-After": "60"}))
    assert raised.value.retryable
    assert raised.value.retry_after.total_seconds() == 60


def test_time_to_come_again_may_be_a_date():
    def asked(text):
        return retry_after(httpx.Response(503, headers={"Retry-After": text}))

    assert asked("Thu, 01 Jan 1970 00:00:00 GMT").total_seconds() == 0
    assert asked("Fri, 01 Jan 2100 00:00:00 GMT").days > 365
    assert asked("soon") is None
    assert asked("") is None


def test_key_and_address_come_from_the_environment(monkeypatch, connect, server):
    server.script = [json_answer({"data": []})]
    monkeypatch.setenv("HOLDFAST_URL", server.url)
    monkeypatch.setenv("HOLDFAST_API_KEY", "hf_12345678_y")
    connect(None, None).list_queues()
    assert server.asked[0].headers["X-API-Key"] == "hf_12345678_y"
    monkeypatch.delenv("HOLDFAST_API_KEY")
    with pytest.raises(ConfigurationError, match="no API key"):
        connect(None, None)
    with pytest.raises(ConfigurationError, match="no HTTP address"):
        connect("localhost:8000")
