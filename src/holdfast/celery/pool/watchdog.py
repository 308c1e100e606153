"""Who blocks the event loop: a call that waits without `await` keeps all the others waiting."""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections import Counter
from typing import Any

from holdfast.jobs.loop import LoopThread

log = logging.getLogger(__name__)

BLOCKED_SECONDS = 0.5
LOOK_SECONDS = 0.1
# So often at most a task that goes on blocking is told of again.
AGAIN_SECONDS = 5.0


class Watchdog:
    """Asks the loop for a sign of life, and names the task that keeps it from giving one.

    Attributes:
        blocked: how often each task has blocked the loop, by its name.
    """

    def __init__(self, loop: LoopThread, *, blocked_seconds: float = BLOCKED_SECONDS) -> None:
        self.blocked: Counter[str] = Counter()
        self._loop = loop
        self._blocked_seconds = blocked_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holdfast-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            sign, asked_at = threading.Event(), time.monotonic()
            loop = self._loop.loop
            loop.call_soon_threadsafe(sign.set)
            wait = self._blocked_seconds
            while not sign.wait(wait) and not self._stopped.is_set():
                self._tell(loop, time.monotonic() - asked_at, is_first=wait == self._blocked_seconds)
                wait = AGAIN_SECONDS

    def _tell(self, loop: asyncio.AbstractEventLoop, seconds: float, *, is_first: bool) -> None:
        running = asyncio.current_task(loop)
        frame = sys._current_frames().get(self._loop.thread_id)  # noqa: SLF001 - documented, for debuggers
        name = "A callback" if running is None else f"Task {_name_of(running)}"
        if is_first:
            self.blocked["(callback)" if running is None else _name_of(running).partition("[")[0]] += 1
        where = "" if frame is None else "".join(traceback.format_stack(frame))
        log.warning(
            "%s has blocked the event loop for %.1f s, and with it all other async tasks of this worker. "
            "Await what waits, or give it to asyncio.to_thread. It is here:\n%s",
            name,
            seconds,
            where,
        )


def _name_of(running: "asyncio.Task[Any]") -> str:
    """Its task's name and id; of one that a task's own code has started, which is numbered, the function."""
    if (name := running.get_name()).endswith("]"):
        return name
    return str(getattr(running.get_coro(), "__qualname__", name))
