"""A client of event streams that talks ASGI to the application in this process."""

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

SECONDS = 10


@dataclass
class Frame:
    """One event as it was received; `data` as Python values."""

    id: int | None
    event: str
    data: dict = field(repr=False)


class EventClient:
    """One open stream: what has come over it, and how it ended."""

    def __init__(self, app, path, headers):
        self.status = None
        self.headers = {}
        self.frames = []
        self.comments = []
        self.body = b""
        self.is_whole = False
        self._reading = asyncio.Event()
        self._reading.set()
        self._left = asyncio.Event()
        self._changed = asyncio.Condition()
        self._rest = b""
        url = urlsplit(path)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": url.path,
            "raw_path": url.path.encode(),
            "query_string": url.query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "server": ("api", 80),
            "client": ("127.0.0.1", 1),
        }
        self._task = asyncio.create_task(app(scope, self._receive, self._send))

    async def until(self, condition, what):
        """Wait for a condition of what has come."""
        try:
            async with asyncio.timeout(SECONDS), self._changed:
                await self._changed.wait_for(lambda: condition() or self._task.done())
        except TimeoutError:
            raise AssertionError(self._missing(what)) from None
        assert condition(), self._missing(what)

    def _missing(self, what):
        return f"{what} did not come: {self.status} {self.frames} {self.comments} {self.body[-500:]}"

    async def event(self, name):
        """Wait for the next event of this name and return it; those before it are taken off as well."""
        found = []

        def has_come():
            found[:] = [number for number, frame in enumerate(self.frames) if frame.event == name]
            return bool(found)

        await self.until(has_come, name)
        frame = self.frames[found[0]]
        del self.frames[: found[0] + 1]
        return frame

    async def end(self):
        """Wait for the end of the response; returns the names of the events that have come."""
        async with asyncio.timeout(SECONDS):
            await self._task
        return [frame.event for frame in self.frames]

    async def leave(self):
        """Close the connection."""
        self._left.set()
        self._reading.set()
        await self.end()

    def stop_reading(self):
        """Take nothing more, as a client does that hangs."""
        self._reading.clear()

    def read_on(self):
        self._reading.set()

    @property
    def json(self):
        return json.loads(self.body)

    async def _receive(self):
        if not hasattr(self, "_asked"):
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        await self._reading.wait()
        async with self._changed:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                self.body += message.get("body", b"")
                self.is_whole = not message.get("more_body", False)
                self._parse(message.get("body", b""))
            self._changed.notify_all()

    def _parse(self, chunk):
        *whole, self._rest = (self._rest + chunk).split(b"\n\n")
        for block in whole:
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if line[:1] != ":")
            if "event" in fields:
                event_id = int(fields["id"]) if "id" in fields else None
                self.frames.append(Frame(event_id, fields["event"], json.loads(fields["data"])))
            else:
                self.comments.append(block.decode().removeprefix(": "))
