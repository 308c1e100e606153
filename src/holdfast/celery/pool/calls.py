"""One execution of a task, as Celery's worker asks a pool for it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated
from celery.concurrency.base import BasePool
from celery.exceptions import SoftTimeLimitExceeded, WorkerLostError
from celery.worker.request import Request

# What a tracer gives: whether the task failed, its result or what went wrong, and the seconds it took.
Traced = tuple[int, Any, float | None]


class CoroutineCancelled(Exception):
    """A coroutine was cancelled, and not by the pool: it cancelled itself, or something it waited for was."""


class OutOfMemory(Exception):
    """A task raised `MemoryError`, of which Celery's worker believes that it is its own."""


class PoolCall:
    """What to run, and whom to tell. Celery keeps a weak reference to it, and terminates the task by it.

    The worker is told once how it ended, whoever comes first: the task, a time limit, or a termination.

    Attributes:
        soft_timeout, timeout: seconds until the task is told to end, and until it counts as ended.
        leave: makes the task leave, by this time limit or else as asyncio cancels; `None` while it cannot.
        is_over: the worker was told how it ended.
    """

    def __init__(
        self,
        target: Callable[..., Traced],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        accept_callback: Callable[[int, float], object] | None = None,
        callback: Callable[[Traced], object] | None = None,
        error_callback: Callable[[ExceptionInfo], object] | None = None,
        timeout_callback: Callable[[bool, float], object] | None = None,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        **_: object,
    ) -> None:
        self.target = target
        self.args = args
        self.kwargs = kwargs
        self.soft_timeout = soft_timeout
        self.timeout = timeout
        self.leave: Callable[[SoftTimeLimitExceeded | None], object] | None = None
        self.is_over = False
        self._is_terminated = False
        self._accepted = accept_callback
        self._ended = callback
        self._lost = error_callback
        self._timed_out = timeout_callback
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.args[0])

    @property
    def id(self) -> str:
        """The id of this execution."""
        return str(self.args[1])

    @property
    def is_terminated(self) -> bool:
        """Whether the worker wants it to end, and has announced the end."""
        return self._is_terminated

    def trace(self) -> None:
        """Run the tracer here and tell the worker what it gave, unless it is told to end before that."""
        if self._was_revoked():
            return
        self.accept()
        traced = None if self._is_terminated else self.target(*self.args, **self.kwargs)
        if traced is None or self._is_terminated:
            # By this the worker knows its own wish. By any other end it would acknowledge the message, which
            # has to be delivered again after a cold shutdown.
            self.lose(Terminated(int(signal.SIGTERM)))
        else:
            self.end(traced)

    def accept(self) -> None:
        """Tell the worker that it runs."""
        if self._accepted is not None:
            self._accepted(os.getpid(), time.monotonic())

    def end(self, traced: Traced) -> None:
        """Tell the worker what its tracer gave."""
        if self._is_first() and self._ended is not None:
            self._ended(_without_memory_error(traced))

    def lose(self, error: BaseException) -> None:
        """Tell the worker that the tracer itself did not come to an end, by this error."""
        if self._is_first() and self._lost is not None:
            self._lost(_as_lost(error))

    def run_out(self) -> None:
        """Tell the worker that the task has run out of time; it hears of it no more."""
        is_first = self._is_first()
        # Before the worker hears of it, as that may wait for its result backend.
        self.terminate()
        if is_first and self._timed_out is not None:
            self._timed_out(False, self.timeout or 0.0)

    def warn(self) -> None:
        """Tell the worker that the task's soft limit is over."""
        if self._timed_out is not None and not self.is_over:
            self._timed_out(True, self.soft_timeout or 0.0)

    def terminate(self, _signal: object = None) -> None:
        """Make the task leave, as far as it can be made to. What it ends with is dropped.

        Called by Celery for `revoke(terminate=True)` and at a cold shutdown, after it has announced the end.
        """
        self._is_terminated = True
        leave = self.leave
        if leave is not None:
            leave(None)

    def hand_on(self, pool: BasePool, left: Callable[[], object]) -> None:
        """Have another pool run it, which tells the worker all there is to tell; then `left` is called."""
        if self._was_revoked():
            left()
            return

        def last(tell: Callable[[Any], object] | None) -> Callable[[Any], None]:
            def tell_and_leave(what: object) -> None:
                if tell is not None:
                    tell(what)
                left()

            return tell_and_leave

        result: Any = pool.apply_async(
            self.target,
            self.args,
            self.kwargs,
            accept_callback=self._accepted,
            callback=last(self._ended),
            error_callback=last(self._lost),
            timeout_callback=self._timed_out,
            soft_timeout=self.soft_timeout,
            timeout=self.timeout,
            correlation_id=self.id,
        )
        self.leave = lambda _: result.terminate(signal.SIGTERM)

    def _was_revoked(self) -> bool:
        """Whether it was revoked or has expired while it waited; if so, the worker tells everybody.

        Celery asks its request when it hands it to a pool, and in other pools what waits was not handed over.
        """
        request = getattr(self._accepted, "__self__", None)
        return isinstance(request, Request) and request.revoked()

    def _is_first(self) -> bool:
        with self._lock:
            is_first = not self.is_over
            self.is_over = True
            return is_first


def _without_memory_error(traced: Traced) -> Traced:
    """What a tracer gave, so that Celery's worker does not raise it anew and forget the message over it."""
    failed, info, seconds = traced
    error = info.exception if failed else None
    error = getattr(error, "exc", error)
    if isinstance(error, MemoryError):
        info.type, info.exception = OutOfMemory, OutOfMemory(repr(error))
    return failed, info, seconds


def _as_lost(error: BaseException) -> ExceptionInfo:
    """As Celery's own pools tell of it: what ends a process anywhere else ends one task here."""
    if isinstance(error, Exception):
        return ExceptionInfo((type(error), error, error.__traceback__))
    lost = WorkerLostError(repr(error))
    lost.__cause__ = error
    return ExceptionInfo((WorkerLostError, lost, error.__traceback__))
