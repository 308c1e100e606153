"""When a worker should make way for another: it has done its share, or has grown too large."""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Final

import psutil

# Between two looks at the memory of the worker and its processes, which take some 20 µs for each.
LOOK_SECONDS: Final = 1.0


class Wear:
    """Counts what a worker has done, and looks at the memory it takes.

    Args:
        most: so many calls are its share; any number, if not given.
        largest: so many kilobytes may the worker take, and each of its processes.
        pids: its processes.
    """

    def __init__(self, most: int | None, largest: int | None, pids: Callable[[], Iterable[int]]) -> None:
        self._most = most
        self._largest = largest
        self._pids = pids
        self._ended = 0
        self._looks_at = 0.0

    def count(self) -> str | None:
        """Count a call that has ended; gives the reason if the worker should end now."""
        self._ended += 1
        if self._most and self._ended >= self._most:
            return f"it has run {self._ended} tasks"
        if self._largest and time.monotonic() >= self._looks_at:
            self._looks_at = time.monotonic() + LOOK_SECONDS
            return self._grown(self._largest)
        return None

    def _grown(self, largest: int) -> str | None:
        if (kilobytes := _kilobytes(None)) > largest:
            return f"it takes {kilobytes:,} kB of memory"
        if (kilobytes := max(map(_kilobytes, self._pids()), default=0)) > largest:
            return f"one of its processes takes {kilobytes:,} kB of memory"
        return None


def _kilobytes(pid: int | None) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return int(psutil.Process(pid).memory_info().rss) // 1024
    return 0
