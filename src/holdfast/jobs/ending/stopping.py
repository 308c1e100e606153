"""The shutdown of a worker: its timetable, and how its processes learn of it."""

import mmap
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

TELL_SECONDS = 5.0
END_SECONDS = 1.5


class Stage(IntEnum):
    """How far the shutdown of a worker is."""

    RUNNING = 0
    CLOSED = 1
    LEAVING = 2


@dataclass(frozen=True)
class Timetable:
    """When what happens, counted from the signal; the last seconds are scaled down for a short grace.

    Attributes:
        grace: from the signal to the end of the process.
    """

    grace: timedelta = timedelta(seconds=25)

    @property
    def tells_after(self) -> float:
        """Seconds until those who still run are told to leave: about five before the end."""
        return self.grace.total_seconds() - min(TELL_SECONDS, self.grace.total_seconds() * 0.4)

    @property
    def ends_after(self) -> float:
        """Seconds until those who have not left are ended: what is left is for the process's own end."""
        return self.grace.total_seconds() - min(END_SECONDS, self.grace.total_seconds() * 0.2)

    @property
    def forces_after(self) -> float:
        """Seconds from when they are told until those in threads are interrupted."""
        return (self.ends_after - self.tells_after) / 3


class StopSign:
    """Says to all processes of a worker how far its shutdown is: a byte of memory that they share.

    Quicker than asking PostgreSQL, which may be away just then.
    """

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None

    def open(self) -> None:
        """Begin to be shared with the processes that are forked from now on; for a worker's main process."""
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def stage(self) -> Stage:
        """How far the shutdown is."""
        return Stage.RUNNING if self._memory is None else Stage(self._memory[0])

    def show(self, stage: Stage) -> None:
        """Say it to all processes."""
        if self._memory is None:
            self.open()
        assert self._memory is not None  # noqa: S101 - just opened
        self._memory[0] = stage
