"""The stream of one job: a snapshot, what it is behind with, and then what happens."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from holdfast.api.events.hub import Hub
from holdfast.api.events.log_reading import JobLog
from holdfast.api.events.stream import TOO_SLOW, Stream, frame

_PAGE: Final = 50
# A client that is behind is read to; should it never come up with what is said, it is dropped.
_MOST_ROUNDS: Final = 100
# Something has to be sent, so that a client sees that it is connected.
_GOES_ON: Final = b": goes on\n\n"

Snapshot = Callable[[], Awaitable[bytes]]


class JobStream:
    """What one client is told of one job.

    Args:
        hub: where the stream is registered already.
        log: the job's events so far.
        stream: the client's.
        snapshot: the job as it is shown now, as JSON.
    """

    def __init__(self, hub: Hub, log: JobLog, stream: Stream, snapshot: Snapshot) -> None:
        self._hub = hub
        self._log = log
        self._stream = stream
        self._snapshot = snapshot

    async def chunks(self, after: int | None) -> AsyncGenerator[bytes, None]:
        """All that the client is sent, after the event it knows; without one it is shown the job first.

        So it is if it names an event that has not happened, or if something after it is not there any more.
        """
        if after is not None and after > await self._log.newest_id():
            after = None
        if after is None:
            after = await self._log.snapshot_id()
            yield frame(after, "snapshot", await self._snapshot())
        elif not await self._log.is_whole(after):
            yield frame(after, "snapshot", await self._snapshot())
        else:
            yield _GOES_ON
        async with aclosing(self._behind(after)) as behind:
            async for chunk, newest in behind:
                after = newest
                yield chunk
        if self._log.is_ended:
            return
        self._hub.look_again(self._log.job_id, seen_id=after)
        async with aclosing(self._stream.chunks()) as live:
            async for chunk in live:
                yield chunk

    async def _behind(self, after: int) -> AsyncGenerator[tuple[bytes, int], None]:
        """What has happened after this event, page by page, until the stream has all that follows."""
        for _ in range(_MOST_ROUNDS):
            self._stream.keep_anew()
            page = await self._log.read(after=after, limit=_PAGE)
            if page:
                after = page[-1].id
                yield b"".join(frame(entry.id, entry.name, entry.data) for entry in page), after
            if self._stream.is_ended:
                return
            if len(page) < _PAGE and (self._log.is_ended or self._stream.go_on(after)):
                return
        self._stream.go_on(after)
        self._stream.end(TOO_SLOW)
