"""The events of one job so far: its changes out of PostgreSQL, what its attempts have said out of Redis."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from holdfast.jobs.events import ATTEMPT
from holdfast.live.feed import Entry, Feed


@dataclass(frozen=True)
class JobLog:
    """A job's events up to now.

    Args:
        feed: reads what attempts have said.
        job_id: the job.
        attempt: its newest that these changes tell of.
        changes: what has become of it, first to last.
        is_ended: whether the last of them is its end.
    """

    feed: Feed
    job_id: UUID
    attempt: int
    changes: Sequence[Entry]
    is_ended: bool

    async def read(self, *, after: int, limit: int) -> list[Entry]:
        """The first events after this id, in their order, `limit` at most."""
        found = await self.feed.read(self.job_id, after=after, limit=limit)
        # An attempt that has begun since comes after its start, which is not told here.
        said = [entry for entry in found if entry.attempt <= self.attempt]
        changes = [change for change in self.changes if change.id > after]
        return sorted([*changes, *said], key=lambda entry: entry.id)[:limit]

    async def newest_id(self) -> int:
        """The id of the newest event."""
        said = await self.feed.newest(self.job_id)
        is_told = said is not None and said.attempt <= self.attempt
        return max(self.changes[-1].id, said.id if said is not None and is_told else 0)

    async def snapshot_id(self) -> int:
        """The newest id that a snapshot includes. The end is told after it, for those who wait for that."""
        return self.changes[-1].id - 1 if self.is_ended else await self.newest_id()

    async def is_whole(self, after: int) -> bool:
        """Whether all is there that has followed this event, as far as its numbers tell."""
        number = after % ATTEMPT
        if not _is_said(after):
            said = await self.feed.read(self.job_id, after=after, limit=1)
            return not said or said[0].id % ATTEMPT == 1
        said = await self.feed.read(self.job_id, after=after - 1, limit=1)
        return bool(said) and said[0].id in (after, after + 1) and number > 0


def _is_said(event_id: int) -> bool:
    """Whether this is the id of something that an attempt has said of itself."""
    return event_id > ATTEMPT and 0 < event_id % ATTEMPT < ATTEMPT - 1
