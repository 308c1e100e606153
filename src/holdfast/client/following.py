"""Following a job by its events: reconnecting when the stream breaks, and going on where it was."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias
from uuid import UUID

import httpx
from pydantic_core import from_json

from holdfast.client.calls import get_job, job_path
from holdfast.client.effects import Emit, Pause, Plan, Request, opened, read
from holdfast.client.exchange import Patience, exchange, pause_after_refusal, unreachable
from holdfast.client.refusals import object_of
from holdfast.client.server_sent import Frame, FrameReader
from holdfast.errors import ApiUnreachable, ConfigurationError, EventsUnavailable, WaitTimedOut
from holdfast.schemas import JobView
from holdfast.states import TERMINAL, JobStatus

SNAPSHOT: Final = "snapshot"
# Three heartbeats: a stream that is silent for longer is dead.
_SILENCE_SECONDS: Final = 45.0
_ENDS: Final = frozenset(f"job.{status}" for status in TERMINAL)
_MEDIA_TYPE: Final = "text/event-stream"
# After an answer that nothing follows the last event, which only a job that has ended gets.
_NOTHING_LEFT_SECONDS: Final = 1.0
# What a 404 says when the route is there and the job is not.
_KNOWN: Final = frozenset({"job_not_found"})


@dataclass(frozen=True)
class Event:
    """What a job's watchers see.

    Attributes:
        id: grows from event to event of a job; `None` if the event has none.
        name: such as `job.progress` or `output.delta`, or one that the task chose; the first is `snapshot`.
        data: of a `snapshot` the job itself.
    """

    id: int | None
    name: str
    data: dict[str, Any]

    @property
    def is_end(self) -> bool:
        """Whether the job has ended with it."""
        return self.name in _ENDS

    @property
    def job(self) -> JobView | None:
        """The job, of a `snapshot`; `None` of all others."""
        return JobView.model_validate(self.data) if self.name == SNAPSHOT else None


Teller: TypeAlias = Callable[[Event], Iterable[Emit]]
"""What is done with each event."""


class EventStream:
    """What was seen of a stream so far, over all its connections.

    Args:
        after: the id of the last event that is known; `None` for the job as it stands.
        is_numbered: whether ids grow from event to event, as those of one job do.
    """

    def __init__(self, after: int | None = None, *, is_numbered: bool = True) -> None:
        self._last = after
        self._is_numbered = is_numbered
        self._reader = FrameReader()
        self.is_over = False

    def reconnected(self) -> dict[str, str]:
        """The headers of a new connection, which goes on where the last one was."""
        self._reader = FrameReader()
        headers = {"Accept": _MEDIA_TYPE, "Cache-Control": "no-store"}
        return headers if self._last is None else {**headers, "Last-Event-ID": str(self._last)}

    @property
    def retry_seconds(self) -> float:
        """How long the server wants one to wait before coming back."""
        return self._reader.retry_seconds or 0.0

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that are new with this piece; raises `ValueError` if it is none of ours."""
        for frame in self._reader.feed(piece):
            event = _event(frame)
            if self._is_numbered and event.id is not None:
                # A snapshot is told whatever its id: it comes where something before it was lost.
                if event.name != SNAPSHOT and self._last is not None and event.id <= self._last:
                    continue
                self._last = event.id
            if self._is_numbered and event.is_end:
                self.is_over = True
            yield event


def follow(
    patience: Patience,
    job_id: UUID,
    tell: Teller,
    *,
    after: int | None = None,
    deadline: float | None = None,
) -> Plan[None]:
    """Tell of a job's events, in order and each once, until the job has ended.

    Args:
        patience: for a server that is away, or breaks off each stream before it says anything.
        job_id: the job.
        tell: what is done with an event.
        after: the id of the last event that is known.
        deadline: by the monotonic clock; about then it gives up.

    Raises:
        EventsUnavailable: the API has no event streams.
        WaitTimedOut: the deadline has come.
    """
    stream = EventStream(after)
    request = Request("GET", f"{job_path(job_id)}/events")
    while True:
        pause = yield from _connection(request, stream, tell, patience, deadline)
        if stream.is_over:
            return
        # It may have ended with nothing left to tell, such as after its last event.
        job = yield from exchange(get_job(job_id), patience)
        if job.status.is_terminal:
            yield from _told(tell, [Event(None, SNAPSHOT, job.model_dump(mode="json"))])
            return
        yield Pause(pause)


def job_events(
    patience: Patience, job_id: UUID, *, after: int | None = None, timeout: float | None = None
) -> Plan[None]:
    """A job's events until it has ended, each once and in order, beginning with a snapshot of the job.

    A connection that breaks is made anew, and goes on where it was; another snapshot is told where events
    were lost meanwhile. `after` is the id of the last event that is known from before.

    Raises:
        WaitTimedOut: it has not ended after `timeout` seconds, or a little more.
        EventsUnavailable: the API has no event streams.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    yield from follow(patience, job_id, each, after=after, deadline=deadline)


def all_events(patience: Patience, *, task: str | None = None, status: JobStatus | None = None) -> Plan[None]:
    """The events of all jobs of this API key from now on, without an end.

    What happens while the connection is made anew is not told.
    """
    request = Request("GET", "/v1/events", params={"task": task, "status": status})
    stream = EventStream(is_numbered=False)
    while True:
        yield Pause((yield from _connection(request, stream, each, patience, None)))


def each(event: Event) -> Iterable[Emit]:
    """Hand the event to whoever iterates."""
    return [Emit(event)]


def check_deadline(deadline: float | None) -> None:
    """Raise `WaitTimedOut` once the deadline, by the monotonic clock, has come."""
    if deadline is not None and time.monotonic() >= deadline:
        raise WaitTimedOut


def _connection(
    request: Request, stream: EventStream, tell: Teller, patience: Patience, deadline: float | None
) -> Plan[float]:
    """Tell what one connection brings; returns for how many seconds to stay away after it."""
    left = _SILENCE_SECONDS if deadline is None else max(0.1, deadline - time.monotonic())
    asked = replace(request, headers=stream.reconnected(), read_seconds=min(left, _SILENCE_SECONDS))
    error = ApiUnreachable("The stream of events broke off.")
    try:
        response = yield from opened(asked)
        if not _is_stream(response):
            return _pause_without_stream(response, patience)
        while not stream.is_over and (piece := (yield from read())):
            yield from _told(tell, _read(stream, piece))
            patience.reset()
            check_deadline(deadline)
    except httpx.TransportError as failure:
        error = unreachable(failure)
    check_deadline(deadline)
    return 0.0 if stream.is_over else patience.pause_after(error, stream.retry_seconds)


def _told(tell: Teller, events: Iterable[Event]) -> Plan[None]:
    for event in events:
        yield from tell(event)


def _is_stream(response: httpx.Response) -> bool:
    return response.is_success and response.headers.get("Content-Type", "").startswith(_MEDIA_TYPE)


def _pause_without_stream(response: httpx.Response, patience: Patience) -> float:
    if response.status_code == 204:
        return _NOTHING_LEFT_SECONDS
    is_unknown = response.status_code in (404, 405) and object_of(response).get("code") not in _KNOWN
    if response.is_success or response.status_code == 406 or is_unknown:
        raise EventsUnavailable(code="events_unavailable", status=response.status_code)
    return pause_after_refusal(response, patience)


def _read(stream: EventStream, piece: bytes) -> list[Event]:
    try:
        return list(stream.feed(piece))
    except ValueError as error:
        raise ConfigurationError(f"What answers is not Holdfast, or another version: {error}") from error


def _event(frame: Frame) -> Event:
    data = from_json(frame.data)
    if not isinstance(data, dict):
        raise ValueError(f"the data of {frame.event} is no object")  # noqa: TRY004 - of the wire, not of code
    return Event(int(frame.id) if frame.id.isdecimal() else None, frame.event, data)
