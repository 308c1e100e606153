"""One connection to Redis for all that a process listens to, and a few for what it reads."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from holdfast.jobs.events import ATTEMPT
from holdfast.live.keys import FIELD, events_key

log = logging.getLogger(__name__)

AWAY_SECONDS: Final = 1.0
# Whoever opens a stream waits for its subscription no longer than this.
SUBSCRIBE_SECONDS: Final = 1.0
PING_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 15.0
READ_SECONDS: Final = 1.0
CANCEL_SECONDS: Final = 0.1
_READERS: Final = 8
_CHANNELS_AT_ONCE: Final = 500
_FIELD: Final = FIELD.encode()


@dataclass(frozen=True)
class Entry:
    """A live event as it was written: its id, its name, and its data as JSON."""

    id: int
    name: bytes
    data: bytes

    @classmethod
    def of(cls, payload: bytes) -> "Entry":
        """What was written or published."""
        event_id, name, data = payload.split(b" ", 2)
        return cls(int(event_id), name, data)

    @property
    def attempt(self) -> int:
        """The attempt that has said it."""
        return self.id // ATTEMPT


class Feed:
    """Listens to channels, and reads what was said on them before; lives on one event loop.

    While Redis is away it tries again every second, and then listens to the same channels as before.

    Args:
        url: of Redis.
        prefix: of its keys and channels.
        hear: given the channel and what was published.
        on_connected: called when it listens, for the first time or again: something may have been missed.
    """

    def __init__(
        self,
        url: Callable[[], str],
        prefix: str,
        hear: Callable[[str, bytes], None],
        on_connected: Callable[[], None],
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._hear = hear
        self._on_connected = on_connected
        self._wanted: set[str] = set()
        self._sent: set[str] = set()
        self._heard: set[str] = set()
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._asked = asyncio.Event()
        self._spoke_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._reader: redis.asyncio.Redis | None = None
        self._reads_from = 0.0
        self.is_connected = False

    def start(self, channels: Collection[str]) -> None:
        """Begin to listen, to these channels first, unless it does so already; on its event loop."""
        # What ends the task is a bug; those who listen after it are not to suffer.
        if self._task is None or self._task.done():
            self._wanted.update(channels)
            self._task = asyncio.get_running_loop().create_task(self._run(), name="holdfast-feed")

    async def aclose(self) -> None:
        """Listen no more, and close the connections."""
        while self._task is not None and not self._task.done():
            self._task.cancel()
            # Again if need be: redis-py 8 may swallow it while it connects.
            await asyncio.wait([self._task], timeout=CANCEL_SECONDS)
        if self._reader is not None:
            await self._reader.aclose()

    async def subscribe(self, channel: str) -> None:
        """Listen to a channel as well; what is said from then on is heard, unless Redis is away."""
        self._wanted.add(channel)
        self._asked.set()
        if not self.is_connected or channel in self._heard:
            return
        confirmed = self._confirmed.get(channel)
        if confirmed is None:
            confirmed = self._confirmed[channel] = asyncio.get_running_loop().create_future()
        await asyncio.wait([confirmed], timeout=SUBSCRIBE_SECONDS)

    def unsubscribe(self, channel: str) -> None:
        """Listen to this channel no more."""
        self._wanted.discard(channel)
        self._asked.set()

    async def read(self, job_id: UUID, *, after: int, limit: int) -> list[Entry]:
        """The entries of a job's stream after this id, first to last; none while Redis is away."""
        start = f"({after // ATTEMPT}-{after % ATTEMPT}"
        key = events_key(self._prefix, job_id)
        found = await self._ask(lambda reader: reader.xrange(key, min=start, count=limit))
        return [Entry.of(fields[_FIELD]) for _, fields in found or []]

    async def newest(self, job_id: UUID) -> Entry | None:
        """The newest entry of a job's stream; `None` if there is none, or Redis is away."""
        key = events_key(self._prefix, job_id)
        found = await self._ask(lambda reader: reader.xrevrange(key, count=1))
        return Entry.of(found[0][1][_FIELD]) if found else None

    async def _ask(self, read: Callable[["redis.asyncio.Redis"], Awaitable[Any]]) -> Any:  # noqa: ANN401
        now = asyncio.get_running_loop().time()
        if now < self._reads_from:
            return None
        if self._reader is None:
            self._reader = redis.asyncio.Redis(connection_pool=self._pool())
        try:
            return await read(self._reader)
        except redis.RedisError as error:
            log.debug("Events cannot be read just now: %s", error)
            self._reads_from = now + AWAY_SECONDS
            return None

    def _pool(self) -> "redis.asyncio.BlockingConnectionPool":
        return redis.asyncio.BlockingConnectionPool.from_url(
            self._url(),
            max_connections=_READERS,
            timeout=2 * READ_SECONDS,
            socket_timeout=READ_SECONDS,
            socket_connect_timeout=READ_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (redis.RedisError, OSError) as error:
                log.log(
                    logging.WARNING if self.is_connected else logging.DEBUG,
                    "Redis is away; events are looked up in PostgreSQL: %s",
                    error,
                )
            finally:
                self._forget()
            await asyncio.sleep(AWAY_SECONDS)

    async def _listen(self) -> None:
        client = redis.asyncio.Redis.from_url(
            self._url(),
            socket_connect_timeout=READ_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        async with client, client.pubsub() as pubsub:
            await self._subscribe(pubsub)
            sender = asyncio.get_running_loop().create_task(self._keep_asking(pubsub))
            try:
                async for message in pubsub.listen():
                    self._take(message)
                    if sender.done():
                        sender.result()
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)

    def _take(self, message: dict[str, Any]) -> None:
        self._spoke_at = asyncio.get_running_loop().time()
        match message["type"]:
            # What is said before all channels are heard is read from where it was written.
            case "message" if self.is_connected:
                self._hear(message["channel"].decode(), message["data"])
            case "subscribe":
                channel = message["channel"].decode()
                self._heard.add(channel)
                if (confirmed := self._confirmed.pop(channel, None)) is not None and not confirmed.done():
                    confirmed.set_result(None)
                if not self.is_connected and self._heard >= self._wanted:
                    self.is_connected = True
                    # A read that failed a moment ago is no reason to miss what was said meanwhile.
                    self._reads_from = 0.0
                    self._on_connected()

    async def _keep_asking(self, pubsub: "redis.asyncio.client.PubSub") -> None:
        """Tell Redis of channels as they come and go, and see that it still speaks."""
        loop = asyncio.get_running_loop()
        self._spoke_at = loop.time()
        try:
            while loop.time() - self._spoke_at < SILENCE_SECONDS:
                try:
                    async with asyncio.timeout(PING_SECONDS):
                        await self._asked.wait()
                except TimeoutError:
                    await pubsub.ping()
                self._asked.clear()
                await self._subscribe(pubsub)
        finally:
            # Whatever has ended this ends the listening as well, which waits for a message.
            connection: Any = pubsub.connection
            if connection is not None:
                await connection.disconnect(nowait=True)

    async def _subscribe(self, pubsub: "redis.asyncio.client.PubSub") -> None:
        for some in _some_of(self._wanted - self._sent):
            self._sent.update(some)
            await pubsub.subscribe(*some)
        for some in _some_of(self._sent - self._wanted):
            self._sent.difference_update(some)
            self._heard.difference_update(some)
            await pubsub.unsubscribe(*some)

    def _forget(self) -> None:
        self.is_connected = False
        self._sent.clear()
        self._heard.clear()
        for confirmed in self._confirmed.values():
            if not confirmed.done():
                confirmed.set_result(None)
        self._confirmed.clear()


def _some_of(channels: Collection[str]) -> list[list[str]]:
    every = list(channels)
    return [every[start : start + _CHANNELS_AT_ONCE] for start in range(0, len(every), _CHANNELS_AT_ONCE)]
