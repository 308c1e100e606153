"""A task's function at work: in the thread that runs the job, or on the event loop of its process."""

import asyncio
import concurrent.futures
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from holdfast.errors import StaleAttempt
from holdfast.jobs.ending.endings import GRACE_SECONDS, Ending
from holdfast.jobs.ending.interruption import InterruptibleCall
from holdfast.jobs.loop import LoopThread


class ThreadBody:
    """A plain function, which leaves at its next progress or step, or by an exception raised where it is."""

    def __init__(self) -> None:
        self._call = InterruptibleCall()

    def run(self, function: Callable[[], object]) -> object:
        """Call it, and give what it returns; raises what it raises, or `Interruption`."""
        return self._call.run(function)

    def stop(self) -> None:
        """Wait for it: it finds out by itself."""

    def force(self, _ending: Ending) -> None:
        """Raise an exception where it is."""
        self._call.interrupt()

    def stack(self) -> str:
        """Where it is, as a traceback shows it."""
        return self._call.stack()


class LoopBody:
    """A coroutine, which is cancelled; one that does not leave is left to itself when its job is gone.

    Args:
        name: of its asyncio task.
    """

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._task: asyncio.Task[object] | None = None
        self._cancelled: asyncio.CancelledError | None = None
        self._abandon: Callable[[], object] = _nothing
        self._is_stopped = False
        self._stopped_at = 0.0

    def run_on(self, loop: LoopThread, coroutine: Callable[[], Coroutine[Any, Any, object]]) -> object:
        """Run it on the loop, wait for it in this thread, and give what it returns; raises what it raises.

        Raises:
            StaleAttempt: it did not leave in time, and its job is gone.
        """
        running = loop.submit(self.run(coroutine))
        try:
            return running.result()
        except concurrent.futures.CancelledError as error:
            raise self._cancelled or error from None
        finally:
            # What is raised here, and not by the task, is a time limit; the task must not outlive it.
            running.cancel()

    async def run(self, coroutine: Callable[[], Coroutine[Any, Any, object]]) -> object:
        """As `run_on`, for code on the loop itself."""
        loop = asyncio.get_running_loop()
        running = asyncio.ensure_future(self._await(coroutine))
        left: asyncio.Future[None] = loop.create_future()
        running.add_done_callback(lambda _: _set(left))
        self._abandon = lambda: loop.call_soon_threadsafe(_set, left)
        try:
            await left
        finally:
            running.cancel()
        if not running.done():
            raise StaleAttempt
        if running.cancelled():
            # A future forgets with what, and thereby where, it was cancelled.
            raise self._cancelled or asyncio.CancelledError
        return running.result()

    def stop(self) -> None:
        """Cancel it."""
        self._is_stopped, self._stopped_at = True, time.monotonic()
        task = self._task
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def force(self, ending: Ending) -> None:
        """Wait for it no longer, if its job is gone and it was given time to leave."""
        if ending is Ending.STALE and time.monotonic() >= self._stopped_at + GRACE_SECONDS:
            self._abandon()

    def stack(self) -> str:
        """Where it is, as a traceback shows it."""
        # `Task.get_stack` ends at the first coroutine, which is ours.
        waiting: Any = None if self._task is None else self._task.get_coro()
        frames = []
        while (frame := getattr(waiting, "cr_frame", None)) is not None:
            frames.append((frame, frame.f_lineno))
            waiting = waiting.cr_await
        return "".join(traceback.StackSummary.extract(iter(frames)).format())

    async def _await(self, coroutine: Callable[[], Coroutine[Any, Any, object]]) -> object:
        self._task = asyncio.current_task()
        if self._name and self._task is not None:
            self._task.set_name(self._name)
        if self._is_stopped:  # the sign came before
            raise asyncio.CancelledError
        try:
            return await coroutine()
        except asyncio.CancelledError as error:
            self._cancelled = error
            raise


def _nothing() -> None:
    """It has not begun: there is nothing to abandon."""


def _set(left: "asyncio.Future[None]") -> None:
    if not left.done():
        left.set_result(None)
