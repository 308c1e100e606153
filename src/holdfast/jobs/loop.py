"""The one event loop of a worker process, for every `async def` task it runs."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, TypeVar

from holdfast.jobs.process import PerProcess

T = TypeVar("T")


class LoopThread:
    """An event loop in a daemon thread, started when first used; a forked child starts its own.

    One loop per process, not one per task: connection pools and HTTP clients belong to the loop they were
    made on, and a task that finds them closed is the commonest failure of async code in Celery workers.
    """

    def __init__(self) -> None:
        self._running = PerProcess(_Running)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of this process."""
        return self._running.get().loop

    @property
    def thread_id(self) -> int:
        """The thread that it runs in."""
        return self._running.get().thread.ident or 0

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop, from any other thread, with the caller's context variables."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)


class _Running:
    def __init__(self) -> None:
        self.loop = _new_loop()
        self.thread = threading.Thread(target=self._run_for_good, name="holdfast-loop", daemon=True)
        self.thread.start()

    def _run_for_good(self) -> None:
        # When a coroutine raises one of these, asyncio hands it to its job and then lets it end the loop as
        # well, which is that of all the other jobs. A real Ctrl-C goes to the main thread.
        while True:
            with suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not made for every platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


process_loop: Final = LoopThread()
"""That of this process: everything that runs in it shares it."""
