"""What a process knows of the jobs that are watched through it, and how their watchers get to know.

Redis says at once that something has become of a job; what it is PostgreSQL says, asked for all such jobs
together. It is asked for all watched jobs every other second besides, so that whatever Redis loses is told
late and not never.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from holdfast.api.events.following import MOST_OPEN, Follower, Following
from holdfast.api.events.looking import Found, View, find_changes
from holdfast.api.events.opened import Opened
from holdfast.api.events.stream import SHUTDOWN, Stream
from holdfast.api.events.watched import Watched
from holdfast.jobs import queries
from holdfast.jobs.database import Database
from holdfast.jobs.lifecycle import newest_id
from holdfast.jobs.patience import reason
from holdfast.live.feed import Entry, Feed
from holdfast.live.keys import events_key, news_channel, progress_channel
from holdfast.states import JobStatus

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.5
# What becomes of jobs is gathered so long after each look.
LOOK_SECONDS: Final = 0.01
AWAY_SECONDS: Final = 1.0
_AT_ONCE: Final = 1_000
_CATCH_UP: Final = 1_000
_NEW_JOBS: Final = 1_000
_SNAPSHOTS: Final = 8


class Hub:
    """The watchers of one process; lives on the event loop of its server.

    Args:
        database: where the jobs are.
        redis_url: where they are told of.
        prefix: of the keys there.
        view: what is told with the end of a job.
        most: streams and waits that one owner may have open.

    Attributes:
        opened: the streams and waits that are open, by API key.
        feed: what is said of jobs, and was said before.
        snapshots: held by whoever shows a job to a stream that begins. A few at a time, so that many streams
            that begin together do not take a connection to Redis each.
    """

    def __init__(
        self, database: Database, redis_url: Callable[[], str], prefix: str, view: View, *, most: int
    ) -> None:
        self._database = database
        self._prefix = prefix
        self._view = view
        self.opened = Opened(most)
        self.snapshots = asyncio.Semaphore(_SNAPSHOTS)
        self.feed = Feed(redis_url, prefix, self._hear, self._catch_up)
        self._watched: dict[UUID, Watched] = {}
        self._by_channel: dict[str, Watched] = {}
        self._followings: dict[UUID, Following] = {}
        self._asked: set[UUID] = set()
        self._something = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def watched_jobs(self) -> int:
        """How many jobs are watched now."""
        return len(self._watched)

    async def watch(self, job: Row[Any], stream: Stream) -> None:
        """Let a stream have what becomes of a job after this row was read, and what it says from now on.

        The latter as far as Redis is there. Whatever this raises, the stream has to be let go.
        """
        watched = self._known(job)
        watched.streams.add(stream)
        self._begin(stream)
        channel = events_key(self._prefix, job.id)
        self._by_channel[channel] = watched
        await self.feed.subscribe(channel)

    def look_again(self, job_id: UUID, *, seen_id: int) -> None:
        """See whether something has become of a job since; its events up to this one were seen."""
        watched = self._watched[job_id]
        watched.entry_id = max(watched.entry_id, seen_id)
        watched.doubt()
        self.look_at([job_id])

    def unwatch(self, job_id: UUID, stream: Stream) -> None:
        """Let a stream go; one that was not there is none."""
        watched = self._watched.get(job_id)
        if watched is None:
            return
        watched.streams.discard(stream)
        if not watched.streams:
            channel = events_key(self._prefix, job_id)
            self._by_channel.pop(channel, None)
            self.feed.unsubscribe(channel)
        self._drop_if_left(watched)

    async def wait_for_end(self, job: Row[Any], seconds: float, left: "asyncio.Future[Any]") -> bool:
        """Return when the job has ended, at the latest after so long, or once whoever waits has left.

        Whether it has ended, or is gone; `False` too if the server is about to end.
        """
        watched = self._known(job)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watched.waiters.add(ended)
        self.look_at([job.id])
        try:
            if not self._is_closed:
                await asyncio.wait({ended, left}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watched.waiters.discard(ended)
            self._drop_if_left(watched)
        return ended.done() and not self._is_closed

    async def follow(self, owner_id: UUID, follower: Follower) -> None:
        """Let a follower have what becomes of any job of this owner from now on."""
        self._start()
        following = self._followings.get(owner_id)
        if following is None:
            following = self._followings[owner_id] = Following(owner_id)
            following.followers.add(follower)
            await self.feed.subscribe(progress_channel(self._prefix))
            await self._open_unfinished(following)
        following.followers.add(follower)
        self._begin(follower.stream)

    def unfollow(self, owner_id: UUID, follower: Follower) -> None:
        """Let a follower go."""
        following = self._followings[owner_id]
        following.followers.discard(follower)
        if following.followers:
            return
        del self._followings[owner_id]
        for job_id in following.told:
            self._close(job_id)
        if not self._followings:
            self.feed.unsubscribe(progress_channel(self._prefix))

    def look_at(self, job_ids: Iterable[UUID]) -> None:
        """Ask PostgreSQL soon what has become of these jobs."""
        self._asked.update(job_ids)
        self._something.set()

    def close(self) -> None:
        """Let all watchers go: the server is about to end."""
        self._is_closed = True
        for watched in self._watched.values():
            watched.end(SHUTDOWN)
        for following in self._followings.values():
            for follower in following.followers:
                follower.stream.end(SHUTDOWN)

    async def aclose(self) -> None:
        """Watch no more."""
        self.close()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.feed.aclose()

    def _start(self) -> None:
        self.feed.start([news_channel(self._prefix)])
        # What ends the task is a bug; the watchers after it are not to suffer.
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_on(), name="holdfast-watching")

    def _begin(self, stream: Stream) -> None:
        if self._is_closed:
            stream.end(SHUTDOWN)

    def _known(self, job: Row[Any]) -> Watched:
        self._start()
        watched = self._watched.get(job.id)
        if watched is None:
            watched = self._watched[job.id] = Watched(job.id, job.status, job.attempt)
        elif (watched.status, watched.attempt) != (job.status, job.attempt):
            # One of the two is older. Whoever knows it already is not told of it again.
            watched.doubt()
            self.look_at([job.id])
        return watched

    def _drop_if_left(self, watched: Watched) -> None:
        if not watched.is_watched and self._watched.get(watched.job_id) is watched:
            del self._watched[watched.job_id]

    def _hear(self, channel: str, payload: bytes) -> None:
        watched = self._by_channel.get(channel)
        if watched is not None:
            if not watched.see(Entry.of(payload)):
                self.look_at([watched.job_id])
        elif channel == news_channel(self._prefix):
            self._hear_news(orjson.loads(payload))
        elif channel == progress_channel(self._prefix):
            for job_id, owner_id, task, attempt, progress in orjson.loads(payload):
                if owner_id is not None and (following := self._followings.get(UUID(owner_id))):
                    following.tell_progress(job_id, task, attempt, progress)

    def _hear_news(self, news: Sequence[Sequence[Any]]) -> None:
        for told_id, owner_id, *_ in news:
            job_id = UUID(told_id)
            if job_id in self._watched:
                self.look_at([job_id])
            if self._followings and owner_id and (following := self._followings.get(UUID(owner_id))):
                for unknown in following.unknown([job_id]):
                    self._open_job(following, unknown)

    def _open_job(
        self, following: Following, job_id: UUID, status: str | None = None, attempt: int | None = None
    ) -> None:
        watched = self._watched.setdefault(job_id, Watched(job_id, status, attempt))
        known_id = 0 if status is None or attempt is None else newest_id(status, attempt)
        for surplus in following.open(watched, known_id):
            self._close(surplus)
        if not known_id:
            watched.doubt()
            self.look_at([job_id])

    def _close(self, job_id: UUID) -> None:
        watched = self._watched.get(job_id)
        if watched is not None:
            watched.following = None
            self._drop_if_left(watched)

    def _catch_up(self) -> None:
        """Redis is there, for the first time or again, and nobody knows what was said meanwhile."""
        for watched in self._by_channel.values():
            watched.doubt()
        self.look_at(self._watched)

    async def _missed(self, watched: Watched) -> list[Entry]:
        missed = page = await self.feed.read(watched.job_id, after=watched.seen_id, limit=_CATCH_UP)
        while len(page) == _CATCH_UP:
            page = await self.feed.read(watched.job_id, after=page[-1].id, limit=_CATCH_UP)
            missed += page
        return missed

    async def _look_on(self) -> None:
        loop = asyncio.get_running_loop()
        polls_at = loop.time() + POLL_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(polls_at):
                    await self._something.wait()
            if is_due := loop.time() >= polls_at:
                polls_at = loop.time() + POLL_SECONDS
            self._something.clear()
            asked, self._asked = self._asked, set()
            try:
                if is_due:
                    await self._look_at_keys()
                    await self._look_for_new()
                await self._look(self._watched if is_due else asked)
            except SQLAlchemyError as error:
                log.warning("It cannot be seen what becomes of watched jobs: %s", reason(error))
                self._asked |= asked
                await asyncio.sleep(AWAY_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, job_ids: Collection[UUID]) -> None:
        asked = [watched for job_id in job_ids if (watched := self._watched.get(job_id)) is not None]
        for start in range(0, len(asked), _AT_ONCE):
            async with self._database.async_statements.connect() as connection:
                found = await find_changes(connection, asked[start : start + _AT_ONCE], self._view)
            await asyncio.gather(*(self._tell(each) for each in found))

    async def _tell(self, found: Found) -> None:
        watched = self._watched.get(found.job_id)
        if watched is None:
            return
        if found.row is None:
            watched.end("The job was deleted.")
            self._close(watched.job_id)
            return
        # What attempts have said comes before what became of them.
        missed = await self._missed(watched) if watched.streams else []
        watched.stand(found.row.status, found.row.attempt, found.entries, missed)
        if watched.following is not None:
            watched.following.tell(found.job_id, found.row.task, found.changes)
        if JobStatus(found.row.status).is_terminal:
            watched.end()
            self._close(watched.job_id)

    async def _open_unfinished(self, following: Following) -> None:
        given = {"owner_id": following.owner_id, "limit": MOST_OPEN}
        async with self._database.async_statements.connect() as connection:
            rows = (await connection.execute(queries.UNFINISHED_JOBS, given)).all()
        for row in reversed(rows):
            self._open_job(following, row.id, row.status, row.attempt)

    async def _look_at_keys(self) -> None:
        if self.opened.watching_keys:
            async with self._database.async_statements.connect() as connection:
                await self.opened.end_of_invalid(connection)

    async def _look_for_new(self) -> None:
        for following in list(self._followings.values()):
            given = {"owner_id": following.owner_id, "after": following.looks_from, "limit": _NEW_JOBS}
            async with self._database.async_statements.connect() as connection:
                job_ids = list((await connection.execute(queries.NEW_JOBS, given)).scalars())
            following.looked_to = job_ids[-1] if len(job_ids) == _NEW_JOBS else None
            for job_id in following.unknown(job_ids):
                self._open_job(following, job_id)
