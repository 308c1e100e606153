"""A job that somebody watches, as far as this process knows it."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

from holdfast.api.events.stream import Stream, frame
from holdfast.jobs import events
from holdfast.live.feed import Entry

if TYPE_CHECKING:
    from holdfast.api.events.following import Following

_MOST_HELD: Final = 500


@dataclass(eq=False)
class Watched:
    """A watched job, and how it stands as far as is known; neither status nor attempt: it is not.

    Attributes:
        streams: of clients that watch this job alone.
        waiters: for its end.
        following: the watchers of all jobs of its owner, if they are told of this one.
        held: events of an attempt that has begun without being told yet.
        entry_id: the newest live event that was seen.
    """

    job_id: UUID
    status: str | None = None
    attempt: int | None = None
    streams: set[Stream] = field(default_factory=set)
    waiters: set[asyncio.Future[None]] = field(default_factory=set)
    following: "Following | None" = None
    held: list[Entry] = field(default_factory=list)
    entry_id: int = 0

    @property
    def is_watched(self) -> bool:
        """Whether anybody still does."""
        return bool(self.streams or self.waiters or self.following)

    @property
    def seen_id(self) -> int:
        """The event after which live ones may have been missed."""
        return max(self.entry_id, events.started_id(self.attempt or 0))

    def see(self, entry: Entry) -> bool:
        """An attempt has said this; `False`: it is not known yet, and its start has to be told first."""
        if self.attempt is None or entry.attempt > self.attempt:
            self.held.append(entry)
            del self.held[:-_MOST_HELD]
            return False
        self._push([entry])
        self.entry_id = max(self.entry_id, entry.id)
        return True

    def stand(self, status: str, attempt: int, changes: Sequence[Entry], missed: Collection[Entry]) -> None:
        """The job stands so, by all these changes; what its attempts have said comes in between."""
        said = {entry.id: entry for entry in (*missed, *self.held)}
        self.status, self.attempt = status, attempt
        self.held = [entry for entry in said.values() if entry.attempt > attempt]
        told = [entry for entry in said.values() if entry.attempt <= attempt]
        self._push(sorted([*changes, *told], key=lambda entry: entry.id))
        self.entry_id = max([self.entry_id, *(entry.id for entry in told)])

    def doubt(self) -> None:
        """Forget how it stands, so that all of it is looked up."""
        self.status = self.attempt = None

    def end(self, why: str | None = None) -> None:
        """Let streams and waiters go."""
        for stream in self.streams:
            stream.end(why)
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _push(self, entries: Sequence[Entry]) -> None:
        for entry in entries if self.streams else ():
            data = frame(entry.id, entry.name, entry.data)
            for stream in self.streams:
                stream.push(entry.id, data)
