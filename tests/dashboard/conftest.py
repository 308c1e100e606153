"""The API with its dashboard in this process, over ASGI, and browsers signed in to it."""

import pytest

from dashboard_visits import browser_of, sign_in
from holdfast.ai import HashingEmbedder
from holdfast.api import create_app
from holdfast.dashboard import add_dashboard
from holdfast.documents.backend import Documents
from holdfast.documents.storage import UploadStore
from holdfast.jobs.keys import Owner, create_key


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def documents(holdfast, tmp_path):
    storage = UploadStore((tmp_path / "uploads").as_uri())
    return Documents(holdfast, storage=storage, embedder=HashingEmbedder)


@pytest.fixture
async def app(holdfast, documents):
    app = add_dashboard(create_app(holdfast, documents))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def make_key(session):
    """Makes a key; returns its owner and the secret token."""

    def make(name="somebody", *scopes):
        key, token = create_key(session, name, scopes=scopes)
        session.commit()
        return Owner(key.id, key.name, tuple(key.scopes)), token

    return make


@pytest.fixture
async def browser(app):
    """A browser that shows a page of the dashboard, and is not signed in."""
    async with browser_of(app) as browser:
        yield browser


@pytest.fixture
def admin_key(make_key):
    return make_key("operator", "admin")


@pytest.fixture
async def admin_browser(app, admin_key):
    async with browser_of(app) as browser:
        await sign_in(browser, admin_key[1])
        yield browser


@pytest.fixture
async def viewer_browser(app, make_key):
    async with browser_of(app) as browser:
        await sign_in(browser, make_key("onlooker", "viewer")[1])
        yield browser
