"""An attempt while it runs, as the threads around it see it: its progress, and whether it should stop."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import count
from typing import Any, Protocol
from uuid import UUID

from holdfast.jobs.ending.endings import Ending
from holdfast.jobs.events import UNWATCHED, EventSink, LiveEvent
from holdfast.jobs.store import Claim


class Body(Protocol):
    """The task's function at work, on the event loop or in a thread. Called from other threads."""

    def stop(self) -> None:
        """Tell it to leave, as far as it can be told."""
        ...

    def force(self, ending: Ending) -> None:
        """Make it leave, as far as it can be made to; harmless to repeat."""
        ...

    def stack(self) -> str:
        """Where it is, as a traceback shows it."""
        ...


class RunningAttempt:
    """What passes between the thread that runs a job and those that report and watch for the process.

    Attributes:
        claim: the attempt's hold on its job.
        progress: the newest progress, kept for the end.
        ending: why the attempt is to leave; `None` while it is not.
        told_at: when it was told so, on this process's monotonic clock.
        ends_at: when its time is over, on the same clock; `None` without a limit.
        sink: tells watchers what the attempt says of itself.
        has_emitted: whether it has said anything.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.progress: dict[str, Any] | None = None
        self.ending: Ending | None = None
        self.told_at = 0.0
        self.sink: EventSink = UNWATCHED
        self.has_emitted = False
        self._event_numbers = count(1)
        # The clock of the database told how much time is left, that of this process counts it down: what
        # the wall clock of this machine says does not matter.
        self.ends_at = _from_now(claim.time_left)
        self._deadline_at = _from_now(claim.deadline_left)
        self._body: Body | None = None
        self._lock = threading.Lock()
        self._unreported: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[UUID, int]:
        """The job's id and the attempt's number."""
        return self.claim.id, self.claim.attempt

    @property
    def stop_requested(self) -> bool:
        """Whether the attempt is to leave, for another reason than having lost the job."""
        return self.ending not in (None, Ending.STALE)

    @property
    def is_stale(self) -> bool:
        """Whether the job has moved on without this attempt."""
        return self.ending is Ending.STALE

    @property
    def deadline_left(self) -> timedelta | None:
        """How far the job's deadline is away; `None` without one."""
        left = self._deadline_at
        return None if left is None else timedelta(seconds=left - time.monotonic())

    def is_due(self, now: float) -> bool:
        """Whether it is to leave, or its time is over by then."""
        return self.ending is not None or (self.ends_at is not None and now >= self.ends_at)

    @property
    def time_is_over(self) -> Ending | None:
        """Which of its limits the attempt has passed, if any."""
        if self.ends_at is None or time.monotonic() < self.ends_at:
            return None
        return Ending.DEADLINE if self.claim.ends_at_deadline else Ending.TIMEOUT

    @property
    def has_news(self) -> bool:
        """Whether there may be something on its way to watchers or PostgreSQL."""
        return self.progress is not None or self.has_emitted

    def emit(self, name: str, data: Mapping[str, Any], encoded: bytes) -> None:
        """Tell watchers of an event; `encoded` is its data as JSON."""
        self.has_emitted = True
        self.sink.emit(LiveEvent(self.claim, self._event_numbers, name, data, encoded))

    def report(self, progress: dict[str, Any]) -> None:
        """Leave the newest progress; what was not taken yet is overwritten."""
        self.progress = self._unreported = progress

    @property
    def has_report(self) -> bool:
        """Whether there is progress that was not taken yet."""
        return self._unreported is not None

    def take_report(self) -> dict[str, Any] | None:
        """The newest progress, if there is any that was not taken yet."""
        taken, self._unreported = self._unreported, None
        return taken

    def begin(self, body: Body) -> None:
        """Note what runs; it is told at once if the attempt was told before."""
        with self._lock:
            self._body = body
            is_told = self.ending is not None
        if is_told:
            body.stop()

    def tell(self, ending: Ending) -> None:
        """Tell the attempt to leave; what it was told first stays the reason, unless it is stale."""
        with self._lock:
            is_first = self.ending is None
            if is_first:
                self.told_at = time.monotonic()
            if is_first or ending is Ending.STALE:
                self.ending = ending
            body = self._body
        if is_first and body is not None:
            body.stop()

    def force(self) -> None:
        """Make the attempt leave, as far as it can be made to."""
        if self.ending is not None and self._body is not None:
            self._body.force(self.ending)

    def stack(self) -> str:
        """Where the task is, as a traceback shows it."""
        return "" if self._body is None else self._body.stack()


# Called when an attempt begins.
Begin = Callable[[RunningAttempt], object]


def _from_now(left: timedelta | None) -> float | None:
    return None if left is None else time.monotonic() + left.total_seconds()
