"""A task's function at work: in the thread that runs the job, or on the event loop of its process."""

import asyncio
import concurrent.futures
import time
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
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
        loop: where it runs.
        name: of its asyncio task.
    """

    def __init__(self, loop: LoopThread, name: str = "") -> None:
        self._loop = loop
        self._name = name
        self._left: concurrent.futures.Future[object] = concurrent.futures.Future()
        self._task: asyncio.Task[object] | None = None
        self._cancelled: asyncio.CancelledError | None = None
        self._is_stopped = False
        self._stopped_at = 0.0

    def run(self, coroutine: Callable[[], Coroutine[Any, Any, object]]) -> object:
        """Run it on the loop, wait for it, and give what it returns; raises what it raises.

        Raises:
            StaleAttempt: it did not leave in time, and its job is gone.
        """
        running = self._loop.submit(self._await(coroutine))
        running.add_done_callback(self._hand_on)
        try:
            return self._left.result()
        finally:
            # What is raised here, and not by the task, is a time limit; the task must not outlive it.
            running.cancel()

    async def run_here(self, coroutine: Callable[[], Coroutine[Any, Any, object]]) -> object:
        """As `run`, for code on the loop itself."""
        running = asyncio.ensure_future(self._await(coroutine))
        left = asyncio.wrap_future(self._left)
        running.add_done_callback(self._hand_on)
        try:
            return await left
        finally:
            running.cancel()

    def stop(self) -> None:
        """Cancel it."""
        self._is_stopped, self._stopped_at = True, time.monotonic()
        task = self._task
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def force(self, ending: Ending) -> None:
        """Wait for it no longer, if its job is gone and it was given time to leave."""
        if ending is Ending.STALE and time.monotonic() >= self._stopped_at + GRACE_SECONDS:
            with suppress(concurrent.futures.InvalidStateError):
                self._left.set_exception(StaleAttempt())

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
            # A future forgets with what, and thereby where, it was cancelled.
            self._cancelled = error
            raise

    def _hand_on(self, running: "concurrent.futures.Future[object] | asyncio.Future[object]") -> None:
        with suppress(concurrent.futures.InvalidStateError):
            if running.cancelled():
                self._left.set_exception(self._cancelled or concurrent.futures.CancelledError())
            elif (error := running.exception()) is not None:
                self._left.set_exception(error)
            else:
                self._left.set_result(running.result())
