"""Celery's own tracer around a coroutine.

The tracer is a plain function: it fires the signals, keeps current task and request, retries, stores the
result, and goes on with chains and chords. It calls the task's `run` and wants its result at once. So it runs
in a greenlet: when `run` gives a coroutine, the greenlet is left until the event loop has awaited that, and
other tracers use the thread meanwhile. What a tracer waits for itself, such as the result backend, it waits
for in its thread, and not on the event loop.
"""

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import wraps
from itertools import cycle
from queue import SimpleQueue
from typing import Any

from celery import Task
from celery.exceptions import Ignore
from greenlet import getcurrent, greenlet

from holdfast.celery.pool.awaiting import Body
from holdfast.celery.pool.calls import CoroutineCancelled, PoolCall
from holdfast.jobs.loop import LoopThread

THREADS = 4
# Behind a tracer that holds its thread up for longer none begins.
HELD_SECONDS = 0.1
# As many as there are when all others are held up.
MOST_THREADS = 32

# A call, and what is called when the worker was told how it ended.
_NewTracer = tuple[PoolCall, Callable[[], object]]


def await_in_tracer(task: Task[Any, Any], loop: LoopThread) -> bool:
    """Have a task's coroutines awaited where a tracer of this pool calls it; `False`: it has none.

    By a `run` of its own, as Celery does for `autoretry_for`, whose `run` calls this one. Where Celery calls
    the task in another thread, as an errback or for each item of `map`, that waits for it. Called where an
    event loop runs, it gives the coroutine.
    """
    name = "_orig_run" if hasattr(task, "_orig_run") else "run"
    function = getattr(task, name)
    if getattr(function, "is_awaited_in_tracer", False):
        return True
    if not inspect.iscoroutinefunction(inspect.unwrap(function)):
        return False

    @wraps(function)
    def run(*args: object, **kwargs: object) -> object:
        given, tracing = function(*args, **kwargs), getcurrent()
        if not inspect.iscoroutine(given) or _runs_a_loop():
            return given
        if isinstance(tracing, Tracing):
            return tracing.wait_for(given, task, loop)
        call = PoolCall(function, (task.name, task.request.id), {})
        return loop.submit(Body(given, task, call).wait()).result()

    run.is_awaited_in_tracer = True  # type: ignore[attr-defined]
    setattr(task, name, run)
    return True


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class TracerThreads:
    """A few threads that run tracers, any number of them at once. Used on the event loop only.

    A tracer that waits, for a result backend that hangs or in somebody's signal handler, holds up those that
    have begun in its thread. Those that have not begin in another, within `HELD_SECONDS`.
    """

    def __init__(self) -> None:
        self._new: deque[_NewTracer] = deque()
        self._threads = [_TracerThread(number, self._new) for number in range(THREADS)]
        self._turns = cycle(range(THREADS))
        self._is_looking = False

    def trace(self, call: PoolCall, on_end: Callable[[], object]) -> None:
        """Run a call's tracer and tell the worker how it ended; then call this, in whatever thread."""
        self._new.append((call, on_end))
        self._threads[next(self._turns)].begin_soon()
        self._look_soon()

    def _look_soon(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_later(HELD_SECONDS, self._look)

    def _look(self) -> None:
        """Have those that have not begun begin in the threads that are not held up, or in one more."""
        self._is_looking = False
        if not self._new:
            return
        free = [thread for thread in self._threads if not thread.is_held_up]
        if not free and len(self._threads) < MOST_THREADS:
            self._threads += (free := [_TracerThread(len(self._threads), self._new)])
        for thread in free:
            thread.begin_soon()
        self._look_soon()


class _TracerThread:
    def __init__(self, number: int, new: "deque[_NewTracer]") -> None:
        self._new = new
        self._todo: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._at_work_since: float | None = None
        name = f"holdfast-tracer-{number}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def is_held_up(self) -> bool:
        """Whether one of its tracers has kept it for long."""
        since = self._at_work_since
        return since is not None and time.monotonic() - since > HELD_SECONDS

    def begin_soon(self) -> None:
        """Begin what has not begun, and what there is to do meanwhile in between."""
        self._todo.put(self._begin)

    def _begin(self) -> None:
        # A greenlet belongs to the thread that makes it.
        with suppress(IndexError):  # others begin as well
            Tracing(self._todo.put, *self._new.popleft()).switch()
        if self._new:
            self.begin_soon()

    def _run(self) -> None:
        while True:
            step = self._todo.get()
            self._at_work_since = time.monotonic()
            step()
            self._at_work_since = None


class Tracing(greenlet):
    """One tracer at work.

    Args:
        later: has its thread call something when it has time.
        call: what to trace.
        on_end: called when the worker was told how it ended.
    """

    def __init__(
        self,
        later: Callable[[Callable[[], object]], object],
        call: PoolCall,
        on_end: Callable[[], object],
    ) -> None:
        super().__init__()
        self._hub = getcurrent()
        self._later = later
        self._call = call
        self._on_end = on_end

    def run(self) -> None:
        """Trace, and tell the worker. Nothing is raised into the thread, which has other tracers to run."""
        call = self._call
        try:
            call.trace()
        except BaseException as error:  # noqa: BLE001 - what a tracer lets through would end this thread
            call.lose(error)
        finally:
            self._on_end()

    def wait_for(self, coroutine: Coroutine[Any, Any, Any], task: Task[Any, Any], loop: LoopThread) -> Any:  # noqa: ANN401 - the type is the function's
        """Leave this greenlet until the loop has awaited the coroutine; give or raise what came of it.

        The coroutine begins with this greenlet's context variables: what signal handlers have set, it sees.
        """
        ended = loop.submit(Body(coroutine, task, self._call).wait())
        ended.add_done_callback(lambda _: self._later(self.switch))
        self._hub.switch()
        return _outcome(ended, self._call)


def _outcome(ended: "Future[Any]", call: PoolCall) -> Any:  # noqa: ANN401 - the type is the function's
    if call.is_terminated:
        # The end was announced: the tracer must not store another.
        raise Ignore
    if ended.cancelled():
        raise CoroutineCancelled("The coroutine was cancelled.")
    return ended.result()
