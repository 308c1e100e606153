"""The API in this process, over ASGI, with two keys."""

import httpx
import pytest
import redis

from event_streams import EventClient
from factories import make_owner
from holdfast.ai import HashingEmbedder
from holdfast.api import create_app
from holdfast.documents.backend import Documents
from holdfast.documents.storage import UploadStore
from holdfast.notify import Notifications


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def uploads(tmp_path):
    """The folder of stored uploads."""
    return tmp_path / "uploads"


@pytest.fixture
def documents(holdfast, uploads):
    return Documents(holdfast, storage=UploadStore(uploads.as_uri()), embedder=HashingEmbedder)


@pytest.fixture
def notifications(holdfast):
    return Notifications(holdfast)


@pytest.fixture
async def app(holdfast, documents, notifications):
    app = create_app(holdfast, documents, notifications)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def key(session):
    """The owner of the usual client's key, and the key."""
    return make_owner(session, "usual")


@pytest.fixture
def owner(key):
    return key[0]


@pytest.fixture
async def client(app, key):
    async with client_of(app, key[1]) as client:
        yield client


@pytest.fixture
async def stranger(app, session):
    """A client with another valid key."""
    async with client_of(app, make_owner(session, "stranger")[1]) as client:
        yield client


@pytest.fixture
async def anonymous(app):
    async with client_of(app, None) as client:
        yield client


def client_of(app, token):
    headers = {} if token is None else {"X-API-Key": token}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)


@pytest.fixture
async def watch(app, key):
    """Open an event stream with the usual key, or another; none outlives the test."""
    clients = []

    async def watch(path, token=key[1], **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        clients.append(client := EventClient(app, path, {"X-API-Key": token} | names))
        await client.until(lambda: client.status is not None, "an answer")
        return client

    yield watch
    for client in clients:
        await client.leave()


@pytest.fixture
def watch_raw(app, key):
    """Ask for something, without waiting for the answer."""
    return lambda path: EventClient(app, path, {"X-API-Key": key[1]})


@pytest.fixture
def hub(app):
    return app.state.holdfast.hub


@pytest.fixture
def valkey(redis_url, redis_prefix):
    """A client of the test's Valkey, which knows the prefix of its keys."""
    with redis.Redis.from_url(redis_url) as client:
        client.prefix = redis_prefix
        yield client
