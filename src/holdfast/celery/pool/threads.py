"""Plain functions in threads, one for each: a task that never ends takes none from those that follow."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import Task
from celery.exceptions import Ignore, SoftTimeLimitExceeded

from holdfast.celery.pool.calls import PoolCall
from holdfast.jobs.ending.interruption import InterruptibleCall


class _Here(threading.local):
    call: PoolCall | None = None


_here = _Here()


def end_in_thread(task: Task[Any, Any]) -> None:
    """Let a task's function be interrupted where a thread of this pool calls it, and only the function.

    By a `run` of its own, as for coroutines. The tracer around it is left in peace, which may be storing the
    result; but it stores none when the worker has announced another end.
    """
    name = "_orig_run" if hasattr(task, "_orig_run") else "run"
    function = getattr(task, name)
    if getattr(function, "ends_in_thread", False):
        return

    @wraps(function)
    def run(*args: object, **kwargs: object) -> object:
        call, _here.call = _here.call, None  # what the function calls itself is a part of it
        return function(*args, **kwargs) if call is None else _call(call, lambda: function(*args, **kwargs))

    run.ends_in_thread = True  # type: ignore[attr-defined]
    setattr(task, name, run)


def _call(call: PoolCall, function: Callable[[], object]) -> object:
    interruptible = InterruptibleCall(SoftTimeLimitExceeded)
    call.leave = lambda _: interruptible.interrupt()
    try:
        return None if call.is_terminated else interruptible.run(function)
    finally:
        call.leave = None
        if call.is_terminated:
            raise Ignore


def trace_in_thread(call: PoolCall, on_end: Callable[[], object]) -> None:
    """Run a call's tracer in a thread and tell the worker how it ended; then call this, in that thread."""
    threading.Thread(target=_trace, args=(call, on_end), name=f"holdfast-{call.name}", daemon=True).start()


def _trace(call: PoolCall, on_end: Callable[[], object]) -> None:
    _here.call = call
    try:
        call.trace()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the worker is to hear of it
        call.lose(error)
    finally:
        on_end()
