"""Celery's time limits, on the event loop's clock, and how the worker is told of what has gone wrong."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery.exceptions import SoftTimeLimitExceeded

from holdfast.celery.pool.calls import PoolCall


@contextmanager
def time_limits(call: PoolCall, on_end: Callable[[], object]) -> Iterator[None]:
    """Hold a call to its limits as long as the block runs.

    At the soft one `SoftTimeLimitExceeded` is raised where the task is: in a coroutine at its `await`, in a
    thread at its next bytecode. At the hard one the worker is told, `on_end` is called, and the task goes on
    without anybody, if it does not leave.
    """
    loop = asyncio.get_running_loop()

    def soften() -> None:
        _in_thread(call.warn)
        if call.leave is not None:
            call.leave(SoftTimeLimitExceeded(call.soft_timeout))

    def harden() -> None:
        _in_thread(call.run_out)
        on_end()

    timers = []
    if call.soft_timeout:
        timers.append(loop.call_later(call.soft_timeout, soften))
    if call.timeout:
        timers.append(loop.call_later(call.timeout, harden))
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


async def aside(tell: Callable[[], object]) -> None:
    """Tell the worker how a call ended while the event loop goes on."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def tell_and_leave() -> None:
        try:
            tell()
        finally:
            loop.call_soon_threadsafe(told.set)

    _in_thread(tell_and_leave)
    await told.wait()


def _in_thread(function: Callable[[], object]) -> None:
    # What Celery does then may wait for its result backend. The loop's own threads may be full of tasks.
    threading.Thread(target=function, name="holdfast-telling", daemon=True).start()
