"""The dashboard's files, as they are in the package: one page for all addresses, its scripts and its styles.

Nothing is loaded from elsewhere, nothing stands in the page that would have to be trusted: scripts and styles
come from files of their own, and scripts cannot make markup out of text.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from holdfast.api.problems import Refused

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS: Final = {
    # Looked at again each time, which the ETag makes cheap: a new release is in use at once.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_PAGES: Final = ("", "/jobs", "/jobs/{job_id}", "/failures", "/queues", "/documents", "/keys")


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def get_pages_router() -> APIRouter:
    """The routes of the pages and of what they are made of."""
    router = APIRouter(prefix="/dashboard", include_in_schema=False)
    for path in _PAGES:
        router.get(path)(get_page)
    router.get("/")(redirect)
    router.get("/static/{name}")(get_file)
    return router


async def get_page(request: Request) -> Response:
    """The one page; its script looks at the address for what to show."""
    return _answer(request, "page.html")


async def redirect() -> Response:
    """The page's one address."""
    return RedirectResponse("/dashboard", status_code=308)


async def get_file(request: Request, name: Annotated[str, Path(max_length=100)]) -> Response:
    """A script, a style or a picture."""
    if name not in _files():
        raise Refused("not_found", "The dashboard has no such file.")
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    file = _files()[name]
    headers = {**HEADERS, "ETag": file.etag}
    if request.headers.get("If-None-Match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


@cache
def _files() -> dict[str, _File]:
    """All of them by name: few and small, and read once. Only what is here can be asked for."""
    found = {}
    for entry in files("holdfast.dashboard").joinpath("static").iterdir():
        kind = entry.name.rpartition(".")[2]
        if kind in _TYPES:
            content = entry.read_bytes()
            digest = hashlib.blake2b(content, digest_size=12).hexdigest()
            found[entry.name] = _File(content, _TYPES[kind], f'"{digest}"')
    return found
