"""Both clients under the same tests, against the real API and against a server that follows a script."""

import asyncio
import inspect
import threading

import pytest
import uvicorn

from factories import make_owner
from holdfast.ai import HashingEmbedder
from holdfast.api import create_app
from holdfast.client import AsyncBatch, AsyncClient, AsyncJob, Client
from holdfast.documents.backend import Documents
from holdfast.documents.storage import UploadStore
from holdfast.jobs.context import JobContext
from scripted_server import scripted_server
from waiting import wait_for

PATIENCE = 20


class Awaited:
    """An async client, or what it gives, that is awaited on a loop of the test's own."""

    def __init__(self, runner, thing):
        self._runner, self._thing = runner, thing

    def __getattr__(self, name):
        found = getattr(self._thing, name)
        return (lambda *args, **kwargs: self._given(found(*args, **kwargs))) if callable(found) else found

    def _given(self, value):
        if inspect.isasyncgen(value):
            return self._iterated(value)
        if inspect.iscoroutine(value):
            value = self._runner.run(value)
        return Awaited(self._runner, value) if isinstance(value, AsyncJob | AsyncBatch) else value

    def _iterated(self, values):
        try:
            while (value := self._runner.run(anext(values, None))) is not None:
                yield value
        finally:
            self._runner.run(values.aclose())


@pytest.fixture(params=["blocking", "awaiting"])
def connect(request):
    """Connect a client of either kind to a URL."""
    if request.param == "blocking":
        clients = []

        def connect(url, key="hf_00000000_x", patience=PATIENCE):
            clients.append(Client(url, key, patience=patience))
            return clients[-1]

        yield connect
        for client in clients:
            client.close()
        return
    with asyncio.Runner() as runner:
        clients = []

        def connect(url, key="hf_00000000_x", patience=PATIENCE):
            clients.append(AsyncClient(url, key, patience=patience))
            return Awaited(runner, clients[-1])

        yield connect
        for client in clients:
            runner.run(client.aclose())


@pytest.fixture
def server():
    with scripted_server() as server:
        yield server


@pytest.fixture
def scripted(connect, server):
    """A client of the server that follows a script."""
    return connect(server.url)


@pytest.fixture
def owner_and_key(session):
    return make_owner(session)


@pytest.fixture
def owner(owner_and_key):
    return owner_and_key[0]


@pytest.fixture
def tasks(holdfast):
    @holdfast.task(exposed=True)
    def paint(job: JobContext, wall: int, colours: list[str] | None = None) -> int:
        return wall

    @holdfast.task(exposed=True)
    def speak(job: JobContext) -> str:
        job.progress(1, 2, "speaking")
        for word in ("Kelp ", "grows ", "fast."):
            job.emit_sync("output.delta", {"text": word})
        job.emit_sync("page.read", {"page": 9})
        return "spoken"

    return {"paint": paint, "speak": speak}


@pytest.fixture
def api_url(holdfast, tasks, tmp_path):
    """The API on a port of its own, in a thread of this process."""
    documents = Documents(
        holdfast, storage=UploadStore((tmp_path / "uploads").as_uri()), embedder=HashingEmbedder
    )
    config = uvicorn.Config(create_app(holdfast, documents), port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started, "the API")
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def client(connect, api_url, owner_and_key):
    return connect(api_url, owner_and_key[1])
