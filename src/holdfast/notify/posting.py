"""One POST to a URL that somebody else chose: bounded in time, and in what is read of the answer.

No redirect is followed, no proxy of the environment is asked, and the connection goes to an address that was
looked at (see `addresses`), while TLS is verified against the name in the URL.
"""

import asyncio
import re
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import httpcore
import httpx

from holdfast.errors import InvalidArguments
from holdfast.jobs.storable import storable_text
from holdfast.notify.addresses import Allowed, Resolve, check_literal, checked_addresses, resolve_by_system
from holdfast.notify.channel import Answer, NotSent

MAX_URL: Final = 2_000
# How much of an answer is read, and how much of that is kept for the log.
MAX_ANSWER_BYTES: Final = 4_096
MAX_KEPT: Final = 1_000
_CONNECT_SECONDS: Final = 10.0
# A name, in ASCII by now, or an address.
_HOST: Final = re.compile(rb"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


@dataclass(frozen=True)
class Reply:
    """What a receiver answered; `text` is the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def answer(self) -> Answer:
        """As the log keeps it."""
        return Answer(self.status, self.text)


@dataclass(frozen=True)
class Poster:
    """Posts to public addresses, and to those that are allowed besides.

    Attributes:
        allowed: what may be reached besides, and without TLS.
        seconds: for the whole of it, from resolving the name to the last byte that is read.
        tls: whom to trust; the usual authorities if not given.
        resolve: gives the addresses of a name.
    """

    allowed: Allowed = field(default_factory=Allowed)
    seconds: float = 20.0
    tls: ssl.SSLContext | None = None
    resolve: Resolve = resolve_by_system

    def check_url(self, url: object) -> str:
        """The URL, if a webhook may go there as far as can be told without resolving its name.

        Raises:
            InvalidArguments: it may not, and why.
        """
        if not isinstance(url, str) or not 0 < len(url) <= MAX_URL:
            raise InvalidArguments(f"The URL of a webhook is a text of 1 to {MAX_URL:,} characters.")
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise InvalidArguments(f"The URL of the webhook cannot be read: {error}.") from error
        is_host = _HOST.fullmatch(parsed.raw_host) is not None
        if parsed.scheme not in ("https", "http") or not is_host or parsed.port == 0:
            raise InvalidArguments("The URL of a webhook begins with https:// and a host.")
        if parsed.userinfo or parsed.fragment:
            raise InvalidArguments("The URL of a webhook has no user, password or fragment.")
        if parsed.scheme == "http" and not self.allowed.names(parsed.host):
            raise InvalidArguments("The URL of a webhook begins with https://.")
        if not check_literal(parsed.host, self.allowed):
            raise InvalidArguments("The URL of the webhook leads to an address that is not public.")
        return url

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post and give what was answered, whatever its status.

        Raises:
            NotSent: there was no answer, with the reason as its code.
        """
        try:
            # Once more: what is allowed may have changed since it was asked for.
            parsed = httpx.URL(self.check_url(url))
        except InvalidArguments as error:
            raise NotSent(error.message, code="address_refused") from error
        try:
            async with asyncio.timeout(self.seconds):
                return await self._post(parsed, body, headers)
        except TimeoutError as error:
            raise NotSent(f"There was no answer within {self.seconds:g} s.", code="timed_out") from error
        except httpcore.ConnectError as error:
            raise _unconnected(error) from error
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise NotSent(f"The connection broke: {_said(error)}.", code="broken_off") from error

    async def _post(self, url: httpx.URL, body: bytes, headers: Mapping[str, str]) -> Reply:
        timeouts = {"connect": _CONNECT_SECONDS, "read": None, "write": None, "pool": None}
        asked = {b"User-Agent": b"Holdfast", b"Content-Type": b"application/json", b"Accept": b"*/*"}
        given = [*asked.items(), *((name.encode(), value.encode()) for name, value in headers.items())]
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path or b"/"
        )
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self.tls or _usual_authorities(),
                max_keepalive_connections=0,
                network_backend=_CheckedNetwork(self.allowed, self.resolve),
            ) as pool,
            pool.stream(
                "POST", target, headers=given, content=body, extensions={"timeout": timeouts}
            ) as response,
        ):
            text = await _beginning(response)
            return Reply(response.status, _texts(response.headers), text)


class _CheckedNetwork(httpcore.AnyIOBackend):
    """Resolves a name, looks at all its addresses, and connects to one of these."""

    def __init__(self, allowed: Allowed, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore has it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await checked_addresses(host, port, self._allowed, self._resolve)
        # Of a machine without IPv6, say, a name's first address may lead nowhere.
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
        return await super().connect_tcp(addresses[-1], port, timeout, local_address, socket_options)


async def _beginning(response: httpcore.Response) -> str:
    """The beginning of an answer; the rest is not read, and the connection closed."""
    received = b""
    async for piece in response.aiter_stream():
        received += piece
        if len(received) >= MAX_ANSWER_BYTES:
            break
    return storable_text(received[:MAX_ANSWER_BYTES].decode("utf-8", "replace"))[:MAX_KEPT]


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in headers}


@lru_cache(maxsize=1)
def _usual_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _unconnected(error: httpcore.ConnectError) -> NotSent:
    # How a certificate is wrong is told by the cause's text alone.
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLError):
        return NotSent(f"TLS failed: {cause.reason or cause}.", code="tls_failed")
    return NotSent(f"No connection: {_said(error)}.", code="unreachable")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
