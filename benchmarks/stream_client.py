"""Readers of event streams: as many connections as asked for, in one process.

`python stream_client.py URL TOKEN WATCHERS`, with the paths in the file that PATHS names; each is read by so
many WATCHERS. It says `OPEN` when all streams are open, forgets on each line of its input what it has seen
before, and says what it has seen since, as JSON, when the input ends.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

OPENED_TOGETHER = 50
MARK = b'{"at":'


class Reader(asyncio.Protocol):
    """One stream."""

    def __init__(self, request: bytes, latencies: list[float], opened: asyncio.Queue[bool]) -> None:
        self._request = request
        self._latencies = latencies
        self._opened = opened
        self._is_open = False
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self._is_open and b"event: snapshot" in data:
            self._is_open = True
            self._opened.put_nowait(True)
        elif not self._is_open and data.startswith(b"HTTP/1.1") and not data.startswith(b"HTTP/1.1 200"):
            self._opened.put_nowait(False)
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for block in whole:
            mark = block.find(MARK)
            if mark >= 0:
                said_at = int(block[mark + len(MARK) : block.index(b"}", mark)])
                self._latencies.append((now - said_at) / 1e6)


async def run(url: str, token: str, watchers: int, paths: list[str]) -> None:
    parts = urlsplit(url)
    latencies: list[float] = []
    opened: asyncio.Queue[bool] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    readers = []
    began = time.monotonic()
    streams = [path for path in paths for _ in range(watchers)]
    for start in range(0, len(streams), OPENED_TOGETHER):
        for path in streams[start : start + OPENED_TOGETHER]:
            request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nX-API-Key: {token}\r\n\r\n".encode()
            made = await loop.create_connection(
                lambda request=request: Reader(request, latencies, opened), parts.hostname, parts.port
            )
            readers.append(made[1])
        for _ in streams[start : start + OPENED_TOGETHER]:
            if not await opened.get():
                raise SystemExit("A stream was refused.")
    print("OPEN", round(time.monotonic() - began, 2), flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        latencies.clear()
    print("RESULT", json.dumps({"latencies_ms": [round(each, 2) for each in latencies]}), flush=True)
    for reader in readers:
        reader.transport.abort()


if __name__ == "__main__":
    _, url, token, watchers = sys.argv
    paths = Path(os.environ["PATHS"]).read_text().split()
    uvloop.run(run(url, token, int(watchers), paths))
