"""The one event loop of a worker process, for every `async def` task it runs."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from holdfast.jobs.process import PerProcess

T = TypeVar("T")


class LoopThread:
    """An event loop in a daemon thread, started when first used; a forked child starts its own.

    One loop per process, not one per task: connection pools and HTTP clients belong to the loop they were
    made on, and a task that finds them closed is the commonest failure of async code in Celery workers.
    """

    def __init__(self) -> None:
        self._loop = PerProcess(_started_loop)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop, from any other thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop.get())


def _started_loop() -> asyncio.AbstractEventLoop:
    loop = _new_loop()
    threading.Thread(target=_run_for_good, args=(loop,), name="holdfast-loop", daemon=True).start()
    return loop


def _run_for_good(loop: asyncio.AbstractEventLoop) -> None:
    # When a coroutine raises one of these, asyncio hands it to its job and then lets it end the loop as well,
    # which is that of all the other jobs. A real Ctrl-C goes to the main thread.
    while True:
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not made for every platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
