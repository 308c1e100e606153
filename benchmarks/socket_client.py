"""A small HTTP client for load: prebuilt requests over kept connections, no more parsing than it takes.

`python socket_client.py URL HEADERS CONNECTIONS SECONDS`, with the paths in the file that PATHS names. With
BODY in the environment, JSON, they are POSTs.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

BODY = os.environ.get("BODY")


class Connection(asyncio.Protocol):
    """Asks, reads the answer, asks again."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float], errors: list[bytes]) -> None:
        self._requests = requests
        self._latencies = latencies
        self._errors = errors
        self._received = b""
        self._asked = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or len(body) < _length(head):
            return
        self._latencies.append(time.perf_counter() - self._asked)
        status = head[9:12]
        if not status.startswith(b"2"):
            self._errors.append(status)
        self._received = b""
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._errors.append(b"lost")

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(next(self._requests))


async def run(
    url: str, headers: dict[str, str], paths: list[str], connections: int, seconds: float
) -> dict[str, float]:
    parts = urlsplit(url)
    rest = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    method, body = ("GET", "") if BODY is None else ("POST", BODY)
    if BODY is not None:
        rest += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
    requests = itertools.cycle(
        f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{rest}\r\n{body}".encode() for path in paths
    )
    latencies: list[float] = []
    errors: list[bytes] = []
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    made = [
        await loop.create_connection(
            lambda: Connection(requests, latencies, errors), parts.hostname, parts.port
        )
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    taken = time.perf_counter() - started
    latencies.sort()
    for transport, _ in made:
        transport.abort()
    return {
        "requests": len(latencies),
        "seconds": taken,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        "errors": len(errors),
    }


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


if __name__ == "__main__":
    _, url, headers, connections, seconds = sys.argv
    paths = Path(os.environ["PATHS"]).read_text().splitlines()
    found = run(url, json.loads(headers), paths, int(connections), float(seconds))
    print("RESULT", json.dumps(asyncio.run(found)))
