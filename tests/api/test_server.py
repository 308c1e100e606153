"""A real server process: what an upload costs it, and what remains of one that breaks off."""

import socket
import subprocess
import sys
from contextlib import closing, contextmanager

import httpx
import psutil
import pytest
from sqlalchemy import func, select

import multipart_forms as forms
from factories import make_owner
from holdfast.jobs.models import Job
from problem_checks import assert_problem
from waiting import wait_for

MIB = 1 << 20
UPLOAD_BYTES = 200_000_000
ALLOWED_GROWTH = 20_000_000


@contextmanager
def serve(environment, **changes):
    """A uvicorn process with the API; gives the process and a client's base URL."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        command = [sys.executable, "-m", "uvicorn", "--factory", "served_app:create", "--log-level", "info"]
        server = subprocess.Popen(
            [*command, "--fd", str(listener.fileno())],
            env=environment | changes,
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            # Answered once the process is up; until then the kernel keeps the connection.
            assert httpx.get(url + "/healthz", timeout=30).status_code == 200
            yield psutil.Process(server.pid), url
        finally:
            server.terminate()
            log = server.communicate(timeout=30)[1]
    assert "Traceback" not in log, log


@pytest.fixture
def token(session):
    return make_owner(session)[1]


def text_form(size):
    """A form with a text file of that many bytes, as a stream."""
    head, tail = forms.file("big.txt", b"\x00").split(b"\x00")
    yield head
    line = b"Holdfasts anchor kelp to rock. " * 2048
    for start in range(0, size, len(line)):
        yield line[: size - start]
    yield tail + forms.end()


def stored(home):
    return [path for path in (home / "uploads").rglob("*") if path.is_file()]


def test_an_upload_of_200_mb_costs_the_process_less_than_20(environment, settings, token):
    with (
        serve(environment, HOLDFAST_MAX_UPLOAD_MB="250") as (process, url),
        httpx.Client(base_url=url, headers={"X-API-Key": token} | forms.HEADERS, timeout=60) as client,
    ):
        # A small upload first: what is loaded and pooled once is not what an upload costs.
        assert client.post("/v1/documents/ingest", content=text_form(MIB)).status_code == 202
        before, peak = process.memory_info().rss, 0

        def measured():
            nonlocal peak
            for number, piece in enumerate(text_form(UPLOAD_BYTES)):
                if number % 50 == 0:
                    peak = max(peak, process.memory_info().rss)
                yield piece

        response = client.post("/v1/documents/ingest", content=measured())
        peak = max(peak, process.memory_info().rss)
    assert response.status_code == 202, response.text
    assert max(path.stat().st_size for path in stored(settings.home)) == UPLOAD_BYTES
    print(f"grew by {(peak - before) / 1e6:.1f} MB")
    assert peak - before < ALLOWED_GROWTH


def test_a_client_that_leaves_in_the_middle_leaves_nothing(environment, settings, session, token):
    with serve(environment) as (_, url):
        body = forms.file("kelp.txt", b"kelp " * 2_000_000)
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port)) as connection:
            head = (
                f"POST /v1/documents/ingest HTTP/1.1\r\nHost: x\r\nX-API-Key: {token}\r\n"
                f"Content-Type: {forms.HEADERS['Content-Type']}\r\nContent-Length: {len(body) * 2}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            wait_for(lambda: is_receiving(settings.home), "the upload to begin")
        wait_for(lambda: not is_receiving(settings.home), "the upload to be dropped")
        assert httpx.get(url + "/healthz").status_code == 200
    assert stored(settings.home) == []
    assert session.scalar(select(func.count()).select_from(Job)) == 0


def is_receiving(home):
    """Whether the store has a part of an upload on disk."""
    return any(path.stat().st_size > 0 for path in stored(home))


def test_a_refusal_reaches_a_client_that_is_still_sending(environment, settings, token):
    with serve(environment, HOLDFAST_MAX_UPLOAD_MB="1") as (_, url):
        sent = 0

        def too_long():
            nonlocal sent
            for piece in text_form(UPLOAD_BYTES):
                sent += len(piece)
                yield piece

        headers = {"X-API-Key": token} | forms.HEADERS
        response = httpx.post(url + "/v1/documents/ingest", content=too_long(), headers=headers, timeout=30)
        assert_problem(response, 413, "upload_too_large")
        assert sent < 50 * MIB
    assert stored(settings.home) == []


def test_the_server_answers_while_it_uploads(environment, session, token):
    """A status read does not wait for the upload's bytes."""
    with serve(environment) as (_, url), httpx.Client(base_url=url, headers={"X-API-Key": token}) as client:
        codes = []

        def with_reads():
            for number, piece in enumerate(text_form(20 * MIB)):
                if number % 100 == 0:
                    codes.append(httpx.get(url + "/v1/jobs", headers={"X-API-Key": token}).status_code)
                yield piece

        response = client.post("/v1/documents/ingest", content=with_reads(), headers=forms.HEADERS)
        assert response.status_code == 202
        assert set(codes) == {200}


def test_a_server_with_open_streams_ends_at_once(environment, session, token):
    with (
        serve(environment) as (process, url),
        httpx.stream("GET", url + "/v1/events", headers={"X-API-Key": token}, timeout=10) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "event: snapshot"
        process.terminate()
        assert any("The server shuts down" in line for line in lines)
        process.wait(10)
