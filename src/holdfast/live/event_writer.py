"""Events on their way from a process to whoever watches, through Redis.

What attempts say goes to the stream `<prefix>events:<job id>`, as `<attempt>-<n>`, which is kept for an hour,
and to the channel of the same name. What becomes of jobs goes to the channel `<prefix>news`, many changes in
one message: whoever misses it finds it in PostgreSQL. Progress goes to the channel `<prefix>progress` as
well, for those who watch many jobs.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from holdfast.jobs.events import (
    ATTEMPT,
    MAX_DATA_BYTES,
    OUTPUT_DELTA,
    PROGRESS,
    LiveEvent,
    encode_data,
    started_id,
)
from holdfast.jobs.process import PerProcess
from holdfast.jobs.store import Claim
from holdfast.live.keys import FIELD, events_key, news_channel, progress_channel
from holdfast.live.progress import AWAY_SECONDS, EXPIRY_SECONDS, WRITE_TIMEOUT_SECONDS

log = logging.getLogger(__name__)

# So long what comes is gathered after a write: of text, so that a reader sees it flow; of news that somebody
# waits for; and of news while nobody listens.
EVENTS_SECONDS: Final = 0.05
NEWS_SECONDS: Final = 0.02
UNHEARD_SECONDS: Final = 0.2
# A process that says more than Redis takes drops what it says first.
MOST_EVENTS: Final = 10_000
MOST_NEWS: Final = 20_000
MOST_KEPT: Final = 5_000
FLUSH_SECONDS: Final = 1.0

# A change: job, owner, task, event, attempt. What is not known is looked up by whoever cares.
News = tuple[UUID, UUID | None, str | None, str | None, int | None]


class EventWriter:
    """The `EventSink` that writes to Redis: a thread a process, which forked children have of their own.

    Args:
        url: of Redis, asked for when there is something to tell.
        prefix: of every key and channel.
    """

    def __init__(self, url: Callable[[], str], prefix: str) -> None:
        self._writing = PerProcess(lambda: _Writing(url(), prefix))

    def tell(self, claim: Claim, name: str) -> None:
        """Tell of an attempt's start or end."""
        news = (claim.id, claim.owner_id, claim.task, name, claim.attempt)
        self._writing.get().put_news(news)

    def look_at(self, job_ids: Collection[UUID]) -> None:
        """Tell that something has become of these jobs."""
        for job_id in job_ids:
            self._writing.get().put_news((job_id, None, None, None, None))

    def emit(self, event: LiveEvent) -> None:
        """Tell what an attempt says."""
        self._writing.get().put(event)

    def flush(self) -> None:
        """Wait until what was emitted so far is written, a second at most."""
        self._writing.get().flush()


class _Writing:
    """One process's part: what waits to be written, and the thread that writes it.

    What comes while nothing is on its way is written at once. Then the next gathers for a moment.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._prefix = prefix
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=WRITE_TIMEOUT_SECONDS,
            socket_connect_timeout=WRITE_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._news: deque[News] = deque(maxlen=MOST_NEWS)
        self._events: deque[LiveEvent] = deque()
        self._something = threading.Event()
        self._hurry = threading.Event()
        self._written = threading.Condition()
        self._rounds = self._taken = 0
        self._away_until = 0.0
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def put_news(self, news: News) -> None:
        """Write this soon; returns at once. Called for every job, and so it does next to nothing."""
        self._news.append(news)
        if not self._something.is_set():
            self._wake()

    def put(self, event: LiveEvent) -> None:
        """Write this soon; returns at once."""
        if len(self._events) >= MOST_EVENTS:
            # Its number is used up, so that readers can tell that something is missing.
            next(event.numbers)
            return
        self._events.append(event)
        if not self._something.is_set():
            self._wake()

    def flush(self) -> None:
        """Wait until a round that began after this call is over."""
        with self._written:
            goal = self._taken + 1
            self._hurry.set()
            self._wake()
            self._written.wait_for(lambda: self._rounds >= goal, FLUSH_SECONDS)

    def _wake(self) -> None:
        self._something.set()
        # What ends the thread is a bug, told by its traceback; the jobs after it are not to suffer.
        if self._thread is None or not self._thread.is_alive():
            with self._starting:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="holdfast-events", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._something.wait()
            self._hurry.clear()
            self._something.clear()
            with self._written:
                self._taken += 1
            pause = self._write(_taken(self._events), _taken(self._news))
            with self._written:
                self._rounds = self._taken
                self._written.notify_all()
            self._hurry.wait(pause)

    def _write(self, events: Sequence[LiveEvent], news: Sequence[News]) -> float:
        """Write all this; returns how long to gather before the next time."""
        entries = [_Entry.of(event) for event in merged(events)]
        if time.monotonic() < self._away_until:
            return UNHEARD_SECONDS
        try:
            hearers = self._send(entries, news)
        except redis.RedisError as error:
            log.debug("%d events and %d changes were not told: %s", len(entries), len(news), error)
            self._away_until = time.monotonic() + AWAY_SECONDS
            return UNHEARD_SECONDS
        if entries:
            return EVENTS_SECONDS
        return NEWS_SECONDS if hearers else UNHEARD_SECONDS

    def _send(self, entries: Sequence["_Entry"], news: Sequence[News]) -> int:
        with self._redis.pipeline(transaction=False) as pipeline:
            for entry in entries:
                key = events_key(self._prefix, entry.event.claim.id)
                pipeline.xadd(key, {FIELD: entry.payload}, id=entry.stream_id, maxlen=MOST_KEPT)
                pipeline.publish(key, entry.payload)
            for job_id in {entry.event.claim.id for entry in entries}:
                pipeline.expire(events_key(self._prefix, job_id), EXPIRY_SECONDS)
            if steps := [entry.news for entry in entries if entry.event.name == PROGRESS]:
                pipeline.publish(progress_channel(self._prefix), b"[" + b",".join(steps) + b"]")
            if news:
                pipeline.publish(news_channel(self._prefix), orjson.dumps(news))
            # An entry that is refused is one of an attempt that another has followed.
            results = pipeline.execute(raise_on_error=False)
        hearers = results[-1] if news else 0
        return hearers if isinstance(hearers, int) else 0


@dataclass(frozen=True)
class _Entry:
    """An event with its number: `<id> <name> <data>` is what is written and published."""

    event: LiveEvent
    number: int

    @classmethod
    def of(cls, event: LiveEvent) -> "_Entry":
        return cls(event, min(next(event.numbers), ATTEMPT - 2))

    @property
    def stream_id(self) -> str:
        return f"{self.event.claim.attempt}-{self.number}"

    @property
    def payload(self) -> bytes:
        event_id = started_id(self.event.claim.attempt) + self.number
        return b"%d %s %s" % (event_id, self.event.name.encode(), self.event.encoded)

    @property
    def news(self) -> bytes:
        claim = self.event.claim
        told = orjson.dumps([claim.id, claim.owner_id, claim.task, claim.attempt])
        return told[:-1] + b"," + self.event.encoded + b"]"


def merged(events: Sequence[LiveEvent]) -> list[LiveEvent]:
    """The events with pieces of text that follow each other, in one attempt, put together.

    Of an attempt's progress the newest is left.
    """
    last_of: dict[tuple[UUID, int], int] = {}
    kept: list[LiveEvent] = []
    for event in events:
        key = (event.claim.id, event.claim.attempt)
        before = last_of.get(key)
        together = None if before is None else _together(kept[before], event)
        if before is None or together is None:
            last_of[key] = len(kept)
            kept.append(event)
        else:
            kept[before] = together
    return kept


def _together(first: LiveEvent, second: LiveEvent) -> LiveEvent | None:
    if first.name != second.name:
        return None
    if first.name == PROGRESS:
        return second
    if first.name != OUTPUT_DELTA or first.data.keys() != second.data.keys():
        return None
    texts = [first.data.get("text"), second.data.get("text")]
    others_differ = any(first.data[name] != second.data[name] for name in first.data if name != "text")
    if others_differ or not all(isinstance(text, str) for text in texts):
        return None
    if len(first.encoded) + len(second.encoded) > MAX_DATA_BYTES:
        return None
    data: dict[str, Any] = {**first.data, "text": "".join(map(str, texts))}
    return LiveEvent(first.claim, first.numbers, first.name, data, encode_data(data))


def _taken(waiting: deque[Any]) -> list[Any]:
    # Others go on appending, so not more than there were.
    return [waiting.popleft() for _ in range(len(waiting))]
