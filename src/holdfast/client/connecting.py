"""What both clients are made from: the API's address, the key, and how a request is written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from holdfast.client.effects import Request
from holdfast.errors import ConfigurationError

DEFAULT_URL: Final = "http://127.0.0.1:8000"
PATIENCE_SECONDS: Final = 60.0
# An upload takes as long as it takes.
_TIMEOUT: Final = httpx.Timeout(30, write=None)
_THIS_MACHINE: Final = ("127.0.0.1", "localhost", "::1")


def http_options(url: str | None, key: str | None) -> dict[str, Any]:
    """What an HTTP client is made with, from the environment where it is not given.

    Raises:
        ConfigurationError: there is no key, or the URL is none.
    """
    url = url or os.environ.get("HOLDFAST_URL") or DEFAULT_URL
    key = key or os.environ.get("HOLDFAST_API_KEY")
    if not key:
        raise ConfigurationError("There is no API key. Give one, or set HOLDFAST_API_KEY.")
    if not key.isascii() or not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{url!r} is no HTTP address, or the key is none.")
    return {
        "base_url": url,
        "headers": {"X-API-Key": key, "User-Agent": "holdfast-client"},
        "timeout": _TIMEOUT,
        # A proxy of the environment is for what is elsewhere.
        "trust_env": httpx.URL(url).host not in _THIS_MACHINE,
    }


@contextmanager
def written(http: httpx.Client | httpx.AsyncClient, request: Request) -> Iterator[httpx.Request]:
    """The request as it is sent; a file of it is open in the block."""
    options: dict[str, Any] = {
        "params": {name: _text(value) for name, value in request.params.items() if value is not None},
        "headers": dict(request.headers),
    }
    if request.read_seconds is not None:
        options["timeout"] = httpx.Timeout(_TIMEOUT.connect, read=request.read_seconds, write=None)
    if request.upload is not None:
        with request.upload.path.open("rb") as file:
            files = {"file": (request.upload.name, file)}
            yield http.build_request(request.method, request.path, data=request.form, files=files, **options)
        return
    if request.body is not None:
        options["content"] = request.body
        options["headers"]["Content-Type"] = "application/json"
    yield http.build_request(request.method, request.path, **options)


def _text(value: object) -> str:
    isoformat = getattr(value, "isoformat", None)
    return str(value) if isoformat is None else isoformat()
