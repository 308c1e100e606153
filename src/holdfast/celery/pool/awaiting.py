"""A task's coroutine on the event loop, with Celery's current task and request.

Celery keeps both for each greenlet, so the coroutine takes its steps in one of its own. What it starts
besides, by `asyncio.create_task` say, has neither.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

from celery import Task
from celery._state import _task_stack  # type: ignore[attr-defined]
from celery.exceptions import SoftTimeLimitExceeded
from greenlet import getcurrent, greenlet

from holdfast.celery.pool.calls import PoolCall

log = logging.getLogger(__name__)

# Sends something into a coroutine, or throws it.
_Action = Callable[[Any], Any]


class SoftLimitInCoroutine(SoftTimeLimitExceeded, asyncio.CancelledError):
    """A soft time limit where a coroutine waits.

    Also what asyncio cancels by, as a task group or `asyncio.wait_for` ends its own tasks only then.
    """


class Body:
    """A coroutine, and what Celery's `current_task` and `task.request` are inside it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], task: Task[Any, Any], call: PoolCall) -> None:
        self._coroutine = coroutine
        self._task = task
        self._request: Any = task.request_stack.top
        self._call = call
        self._leaving_with: SoftTimeLimitExceeded | None = None

    async def wait(self) -> Any:  # noqa: ANN401 - the type is the function's
        """Await it until it ends or the call is over: then it is cancelled, and left to itself."""
        loop, call = asyncio.get_running_loop(), self._call
        running = asyncio.create_task(self._all_steps(), name=f"{call.name}[{call.id}]")
        left = asyncio.Event()
        running.add_done_callback(lambda _: left.set())

        def leave(error: SoftTimeLimitExceeded | None) -> None:
            self._leaving_with = error
            running.cancel()
            if call.is_terminated:
                left.set()

        call.leave = lambda error: loop.call_soon_threadsafe(leave, error)
        if call.is_terminated:
            leave(None)
        await left.wait()
        return running.result() if running.done() else None

    async def _all_steps(self) -> Any:  # noqa: ANN401 - the type is the function's
        try:
            return await self
        except SoftLimitInCoroutine as error:
            # Outside it must not look like a cancellation.
            raise SoftTimeLimitExceeded(*error.args).with_traceback(error.__traceback__) from None

    def __await__(self) -> Generator[Any, Any, Any]:
        self._outside = getcurrent()
        inside = greenlet(self._take_steps)
        inside.gr_context = copy_context()
        action, value = self._coroutine.send, None
        while True:
            waited = inside.switch(action, value)
            if inside.dead:
                return waited
            try:
                action, value = self._coroutine.send, (yield waited)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the coroutine's
                action, value = self._coroutine.throw, self._translated(error)

    def _take_steps(self, action: _Action, value: object) -> object:
        _task_stack.push(self._task)
        self._task.request_stack.push(self._request)
        try:
            while True:
                action, value = self._outside.switch(action(value))
        except StopIteration as end:
            return end.value
        finally:
            self._task.request_stack.pop()
            _task_stack.pop()

    def _translated(self, error: BaseException) -> BaseException:
        """What is raised in the coroutine where asyncio cancels it: that, or a time limit of Celery's."""
        instead, self._leaving_with = self._leaving_with, None
        if instead is None or not isinstance(error, asyncio.CancelledError):
            return error
        if (running := asyncio.current_task()) is not None:
            running.uncancel()
        return SoftLimitInCoroutine(*instead.args)
