"""Who may run: calls of one kind wait in a lane, and all lanes share the slots of the pool."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator

from holdfast.celery.pool.calls import PoolCall


class Lane:
    """Calls of one kind: those that run, and those that wait for a place.

    Args:
        limit: how many run at a time.
        run: runs one, on the event loop, until it has left its place.
    """

    def __init__(self, limit: int, run: Callable[[PoolCall], Awaitable[object]]) -> None:
        self.limit = limit
        self.run = run
        self.running: set[PoolCall] = set()
        self.waiting: deque[PoolCall] = deque()

    @property
    def can_start(self) -> bool:
        """Whether one waits, and has a place."""
        return bool(self.waiting) and len(self.running) < self.limit


class Lanes:
    """The lanes of a pool. Used on the event loop only.

    Args:
        limit: how many calls run at a time, whatever their kind.
    """

    def __init__(self, limit: int, lanes: dict[str, Lane]) -> None:
        self.limit = limit
        self.lanes = lanes
        self.running = 0
        self.is_closed = False

    def free(self, name: str) -> int:
        """How many more calls of this lane could run now, those that wait taken off."""
        if self.is_closed:
            return 0
        lane = self.lanes[name]
        waiting = sum(len(each.waiting) for each in self.lanes.values())
        in_lane = lane.limit - len(lane.running) - len(lane.waiting)
        return max(0, min(self.limit - self.running - waiting, in_lane))

    def put(self, name: str, call: PoolCall) -> None:
        """Let a call wait for its place; `ready` gives it when it has one."""
        if not self.is_closed:
            self.lanes[name].waiting.append(call)

    def ready(self) -> Iterator[tuple[Lane, PoolCall]]:
        """Take the calls that have a place now, one of each lane in turns; `leave` gives a place back."""
        while startable := [lane for lane in self.lanes.values() if lane.can_start]:
            for lane in startable:
                if self.running >= self.limit:
                    return
                call = lane.waiting.popleft()
                lane.running.add(call)
                self.running += 1
                yield lane, call

    def leave(self, lane: Lane, call: PoolCall) -> None:
        """Give a place back."""
        lane.running.discard(call)
        self.running -= 1

    def forget(self, keeps: Callable[[PoolCall], bool] = lambda _call: False) -> None:
        """Drop what waits, but for what is kept: its message was not acknowledged, and is delivered again."""
        for lane in self.lanes.values():
            lane.waiting = deque(call for call in lane.waiting if keeps(call))

    def close(self) -> None:
        """Start nothing more."""
        self.is_closed = True
        self.forget()

    def all_running(self) -> list[PoolCall]:
        """Everything that runs. May be called in any thread."""
        return [call for lane in self.lanes.values() for call in list(lane.running)]
