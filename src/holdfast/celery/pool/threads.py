"""Plain functions in threads, one for each: a task that never ends takes none from those that follow."""

import threading
from collections.abc import Callable

from celery.exceptions import SoftTimeLimitExceeded

from holdfast.celery.pool.calls import PoolCall
from holdfast.jobs.ending.interruption import InterruptibleCall


def trace_in_thread(call: PoolCall, on_end: Callable[[], object]) -> None:
    """Run a call's tracer in a thread and tell the worker how it ended; then call this, in that thread."""
    threading.Thread(target=_trace, args=(call, on_end), name=f"holdfast-{call.name}", daemon=True).start()


def _trace(call: PoolCall, on_end: Callable[[], object]) -> None:
    interruptible = InterruptibleCall(SoftTimeLimitExceeded)
    call.leave = lambda _: interruptible.interrupt()
    try:
        call.accept()
        call.end(interruptible.run(lambda: call.target(*call.args, **call.kwargs)))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the worker is to hear of it
        call.lose(error)
    finally:
        on_end()
