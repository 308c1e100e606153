"""How full the broker's queues are, as far as a process that enqueues knows.

Asked on every enqueue and so answered from memory. What it is told of the broker is a moment old, and other
processes enqueue as well: it keeps a backlog out of the broker, and counts nothing exactly.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from holdfast.jobs.delivery.waiting import Backlog

# How many messages of a queue come before a new one, at most. A relay fills the window about once a second,
# and a worker takes about a thousand a second at most: twice that is never empty before it is filled again.
# More workers take more, and bring a relay each.
WINDOW = 2_000
# With so many before it a new job need not be sent at once: it is not next in line, and workers that take
# their backlog out of PostgreSQL are spared its message.
ADMITTED = 500
# How often the broker is asked, at most; and how long what it said is believed when nobody asks it.
READING_SECONDS = 0.25
BELIEVED_SECONDS = 5.0
NEVER = 10


@dataclass
class _Reading:
    """What is known of a queue.

    Attributes:
        at: when the broker was asked last.
        added: those of each priority that were admitted since, or whose reading was on its way then.
        full_from: this priority and those less urgent find the window full.
        is_asked: somebody is about to ask.
    """

    at: float
    backlog: Backlog = field(default_factory=lambda: Backlog({}))
    added: list[int] = field(default_factory=lambda: [0] * NEVER)
    full_from: int = NEVER
    is_away: bool = False
    is_asked: bool = False

    def before(self, priority: int) -> int:
        return self.backlog.before(priority) + sum(self.added[: priority + 1])


class Gauge:
    """Says whether a new job goes to the broker at once, or is left to the relay.

    A queue that was full has room again when half of the window is: until then the relay, which feeds older
    jobs first, may not be done with them.
    """

    def __init__(self, window: int = ADMITTED, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = window
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: dict[str, _Reading] = {}

    def admit(self, queue: str, priority: int) -> bool:
        """Count one more message; `False`: there is no room, or no broker: leave the job to the relay."""
        with self._lock:
            reading = self._known(queue)
            if priority >= reading.full_from:
                return False
            reading.added[priority] += 1
            if reading.before(priority) >= self._window:
                reading.full_from = priority
            return True

    def ask(self, queue: str) -> bool:
        """Whether it is time to ask the broker; the caller then does, and tells with `tell`."""
        with self._lock:
            reading = self._known(queue)
            if reading.is_asked or self._clock() < reading.at + READING_SECONDS:
                return False
            reading.is_asked = True
            return True

    def tell(self, queue: str, backlog: Backlog | None) -> None:
        """What the broker said; `None`: it could not be asked, or took no messages."""
        with self._lock:
            earlier = self._known(queue)
            reading = self._readings[queue] = _Reading(self._clock(), is_away=backlog is None)
            if backlog is None:
                reading.full_from = 0
                return
            reading.backlog = backlog
            for priority in range(NEVER):
                was_full = priority >= earlier.full_from and not earlier.is_away
                if backlog.before(priority) >= (self._window / 2 if was_full else self._window):
                    reading.full_from = priority
                    break

    def _known(self, queue: str) -> _Reading:
        reading = self._readings.get(queue)
        now = self._clock()
        if reading is None or (now > reading.at + BELIEVED_SECONDS and not reading.is_away):
            # The broker may be asked at once.
            is_asked = reading is not None and reading.is_asked
            reading = self._readings[queue] = _Reading(now - READING_SECONDS, is_asked=is_asked)
        return reading
