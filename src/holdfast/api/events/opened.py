"""The streams and waits of each API key that are open in a process."""

from collections import Counter, defaultdict
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.api.events.stream import Stream
from holdfast.jobs.keys import VALID_IDS

OVER: Final = "The API key was revoked or has expired."


class Opened:
    """Counts what each key has open, and knows its streams, which end when the key does.

    Args:
        most: streams and waits that one key may have open.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._counts: Counter[UUID] = Counter()
        self._streams: defaultdict[UUID, set[Stream]] = defaultdict(set)

    @property
    def total(self) -> int:
        """How many streams and waits are open now."""
        return self._counts.total()

    @property
    def watching_keys(self) -> list[UUID]:
        """The keys that have streams open."""
        return list(self._streams)

    def is_full(self, owner_id: UUID) -> bool:
        """Whether this key has as many streams and waits open as it may have."""
        return self._counts[owner_id] >= self.most

    def enter(self, owner_id: UUID, stream: Stream | None = None) -> bool:
        """Count a stream, or a wait, of this key; `False`: it has as many as it may have."""
        if self.is_full(owner_id):
            return False
        self._counts[owner_id] += 1
        if stream is not None:
            self._streams[owner_id].add(stream)
        return True

    def leave(self, owner_id: UUID, stream: Stream | None = None) -> None:
        """Count one less."""
        self._counts[owner_id] -= 1
        if not self._counts[owner_id]:
            del self._counts[owner_id]
        if stream is not None:
            self._streams[owner_id].discard(stream)
            if not self._streams[owner_id]:
                del self._streams[owner_id]

    async def end_of_invalid(self, connection: AsyncConnection) -> None:
        """Let the streams of keys go that were revoked or have expired: one question for all of them."""
        asked = self.watching_keys
        valid = set((await connection.execute(VALID_IDS, {"ids": asked})).scalars())
        for owner_id in asked:
            if owner_id not in valid:
                for stream in self._streams.get(owner_id, ()):
                    stream.end(OVER)
