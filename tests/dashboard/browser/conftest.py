"""Debian's Chromium, a real server for it, and a database in which a day's work was done."""

import os
import shutil
import socket
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

from busy_day import fill_day
from holdfast.api import create_app
from holdfast.dashboard import add_dashboard
from holdfast.jobs import counting
from waiting import DEADLINE_SECONDS, wait_for

CHROMIUM = shutil.which("chromium")
# Kept by CI: a page is not tested until somebody has looked at it.
SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
SIZES = {"desktop": {"width": 1360, "height": 900}, "phone": {"width": 390, "height": 844}}


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.needs_debian)
            if CHROMIUM is None and not os.environ.get("CI"):
                item.add_marker(
                    pytest.mark.skip(reason="Chromium is missing: scripts/install-debian browser")
                )


# Not for the whole run: while Playwright is there, other tests of this process cannot run an event loop.
@pytest.fixture(scope="module")
def chromium():
    assert CHROMIUM is not None, "scripts/install-debian browser was not run"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def serving(app):
    """Serve an application from a thread of this process; gives its URL."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_for(lambda: server.started, "the server's start")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(DEADLINE_SECONDS)


@pytest.fixture
def url(holdfast, documents):
    with serving(add_dashboard(create_app(holdfast, documents))) as url:
        yield url


@pytest.fixture
def day(session, admin_key, monkeypatch):
    """A day's work in the database; see `fill_day`."""
    monkeypatch.setattr(counting, "PIECE", counting.OLDEST)
    return fill_day(session, admin_key[0])


@pytest.fixture
def open_page(chromium, url):
    """Opens a page; nothing on it may go wrong unseen."""
    contexts, troubles = [], []

    def make(*, size="desktop", theme="light", token=None, path="/dashboard"):
        context = chromium.new_context(
            viewport=SIZES[size], color_scheme=theme, has_touch=size == "phone", device_scale_factor=1
        )
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if is_trouble(said) else None)
        page.goto(url + path)
        if token is not None:
            page.get_by_label("API key").fill(token)
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("navigation")).to_be_visible()
        return page

    yield make
    for context in contexts:
        context.close()
    assert troubles == []


def is_trouble(said):
    # Chromium reports every answer of 400 and more, of which tests ask for some.
    return said.type == "error" and "the server responded with a status of" not in said.text


@pytest.fixture
def shoot():
    """Keeps a picture of a page for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def shoot(page, name, *, whole=True):
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole)

    return shoot
