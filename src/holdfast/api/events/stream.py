"""One open stream: a bounded queue between the hub and a client, and the response that empties it."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 15.0
# What may wait for a reader, besides what the server holds for its connection.
MAX_WAITING_BYTES: Final = 131_072
# A reader that takes nothing for so long is gone, whatever its connection says.
SEND_SECONDS: Final = 30.0
MEDIA_TYPE: Final = "text/event-stream"

_HEARTBEAT: Final = b": still here\n\n"
TOO_SLOW: Final = "You read too slowly. Come back with the last event id."
SHUTDOWN: Final = "The server shuts down. Come back with the last event id."


def frame(event_id: int | None, name: str | bytes, data: bytes) -> bytes:
    """An event on the wire; the data is JSON on one line."""
    encoded = name.encode() if isinstance(name, str) else name
    head = b"" if event_id is None else b"id: %d\n" % event_id
    return b"%sevent: %s\ndata: %s\n\n" % (head, encoded, data)


class Stream:
    """Frames on their way to one client, in the order of their ids.

    It begins by keeping what comes: the client is told first of what was before.
    """

    def __init__(self) -> None:
        self._last_id = 0
        self._kept: list[tuple[int | None, bytes]] | None = []
        self._kept_end = False
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._arrived = asyncio.Event()
        self._is_ended = False

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._is_ended

    def push(self, event_id: int | None, data: bytes) -> None:
        """Give the client this frame, unless it knows the event; drop a client that does not keep up."""
        if self._is_ended or (event_id is not None and event_id <= self._last_id):
            return
        if self._kept is not None:
            self._keep(event_id, data)
            return
        if self._size > MAX_WAITING_BYTES:
            self._frames.clear()
            self.end(TOO_SLOW)
            return
        if event_id is not None:
            self._last_id = event_id
        self._append(data)

    def keep_anew(self) -> None:
        """Forget what has come: it is about to be read from where it was written."""
        self._kept, self._kept_end, self._size = [], False, 0

    def go_on(self, after: int) -> bool:
        """Give the client what comes from now on, and what has come, as far as it follows this event.

        `False`: more has come than could be kept. Keep anew, and read it.
        """
        if self._kept is None or self._size > MAX_WAITING_BYTES:
            return self._kept is None
        kept, self._kept, self._size, self._last_id = self._kept, None, 0, after
        for event_id, data in kept:
            self.push(event_id, data)
        if self._kept_end:
            self.end()
        return True

    def end(self, reason: str | None = None) -> None:
        """Let the client go when it has taken what waits for it, and say why."""
        if self._is_ended:
            return
        if reason is not None:
            self._append(b": %s\n\n" % reason.encode())
        elif self._kept is not None:
            self._kept_end = True
            return
        self._is_ended = True
        self._arrived.set()

    def leave(self) -> None:
        """The client is gone."""
        self._frames.clear()
        self._is_ended = True
        self._arrived.set()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """What comes, as it comes, until the end; a comment while nothing does."""
        while True:
            if self._frames:
                yield self._take()
            elif self._is_ended:
                return
            elif not await self._has_arrived():
                yield _HEARTBEAT

    def _keep(self, event_id: int | None, data: bytes) -> None:
        assert self._kept is not None  # noqa: S101 - seen by the caller
        if self._size <= MAX_WAITING_BYTES:
            self._kept.append((event_id, data))
            self._size += len(data)

    def _append(self, data: bytes) -> None:
        self._frames.append(data)
        self._size += len(data)
        self._arrived.set()

    def _take(self) -> bytes:
        chunk = b"".join(self._frames)
        self._frames.clear()
        self._size = 0
        return chunk

    async def _has_arrived(self) -> bool:
        self._arrived.clear()
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True


class StreamResponse(Response):
    """A response of `text/event-stream` that ends with the stream, or with the client.

    Args:
        stream: the client's.
        chunks: what to send; those of the stream at last.
        close: called at the end, however it comes.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self, stream: Stream, chunks: AsyncGenerator[bytes, None], close: Callable[[], object]
    ) -> None:
        # No proxy is to gather what should flow.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(None, headers=headers, media_type=MEDIA_TYPE)
        # How long it will be nobody knows.
        del self.headers["content-length"]
        self._stream = stream
        self._chunks = chunks
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's own
        """Serve the request; returns when the stream has ended, or the client is gone."""
        leaving = asyncio.create_task(self._watch(receive))
        try:
            async with aclosing(self._chunks) as chunks:
                # What fails before the first of them is answered as for any other request.
                chunk = await anext(chunks, b"")
                start = {"status": self.status_code, "headers": self.raw_headers}
                await send({"type": "http.response.start", **start})
                await self._send(send, chunk)
                async for chunk in chunks:
                    await self._send(send, chunk)
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            log.info("A client that has not read its events for %.0f s was dropped", SEND_SECONDS)
        finally:
            self._close()
            leaving.cancel()

    async def _send(self, send: Send, chunk: bytes) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._stream.leave()
