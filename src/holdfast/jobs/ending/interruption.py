"""Calling a function that another thread can interrupt, by an exception raised where the function then is.

Python delivers such an exception between two bytecodes of the thread, and not while that waits in C. The main
thread is woken by a signal as well, so that there even `time.sleep` ends: that is where prefork and solo run
their tasks.
"""

import ctypes
import logging
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

# Without a handler it does nothing, and hardly anybody has one.
_WAKING = signal.SIGURG
_TRIES = 10
_PAUSE_SECONDS = 0.002
_SWITCH_SECONDS = 0.0001
_switching = threading.Lock()


class Interruption(BaseException):
    """Raised inside a task, wherever it is, when it has to leave.

    Not an `Exception`, so that a task's own handlers let it pass; its `finally` blocks run.
    """


class InterruptibleCall:
    """One call of a function in this thread, which any other thread may interrupt once.

    The exception comes out of `run` or not at all: when `run` has returned or raised, none is under way.

    Args:
        exception: what to raise.
    """

    def __init__(self, exception: type[BaseException] = Interruption) -> None:
        self._exception = exception
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._is_interrupted = False

    def run(self, function: Callable[[], T]) -> T:
        """Call the function.

        Raises:
            Interruption: `interrupt` was called meanwhile, and the function did not swallow it. It may just
                have returned.
        """
        try:
            self._open()
            return function()
        finally:
            # An interruption that comes before this has taken it back is the only one there will be.
            self._close()

    def interrupt(self) -> None:
        """Raise an `Interruption` in the thread that runs the function, if one does.

        Harmless to repeat: it comes once at most. A thread that just then writes a log line is let be, and
        has to be interrupted again.
        """
        if self._is_settled():
            return
        with _frequent_switches():
            for _ in range(_TRIES):
                # By chance, as it may log at a steady pace that this would fall in with.
                time.sleep(random.uniform(0, _PAUSE_SECONDS))  # noqa: S311 - no secret
                if self._is_settled():
                    return

    def _is_settled(self) -> bool:
        """Interrupt the thread if that is to be done and can be; False while it cannot."""
        with self._lock:
            if self._thread is None or self._is_interrupted:
                return True
            # Raised while it takes the lock of logging, it would keep that for good, from all threads.
            if _is_logging(self._thread):
                return False
            self._is_interrupted = True
            _raise_in(self._thread, self._exception)
            return True

    def stack(self) -> str:
        """Where the function is now, as a traceback shows it; empty if it does not run."""
        with self._lock:
            frame = None if self._thread is None else sys._current_frames().get(self._thread)  # noqa: SLF001
        return "" if frame is None else "".join(traceback.format_stack(frame))

    def _open(self) -> None:
        if threading.current_thread() is threading.main_thread() and not callable(signal.getsignal(_WAKING)):
            signal.signal(_WAKING, _wake)
        with self._lock:
            self._thread = threading.get_ident()

    def _close(self) -> None:
        with self._lock:
            if self._is_interrupted and self._thread is not None:
                _set_exception(self._thread, None)
            self._thread = None


@contextmanager
def _frequent_switches() -> Iterator[None]:
    """Meet a thread that logs often elsewhere too.

    It lets go of the interpreter while a line is written. Asked for it only after the usual 5 ms, it would
    give it to us there, and nowhere else, for as long as a line comes more often than that.
    """
    with _switching:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(min(interval, _SWITCH_SECONDS))
        try:
            yield
        finally:
            sys.setswitchinterval(interval)


def _raise_in(thread: int, exception: type[BaseException]) -> None:
    _set_exception(thread, exception)
    if thread == threading.main_thread().ident and signal.getsignal(_WAKING) is _wake:
        signal.pthread_kill(thread, _WAKING)


def _set_exception(thread: int, exception: type[BaseException] | None) -> None:
    raised = ctypes.py_object() if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


def _wake(_signal: int, _frame: FrameType | None) -> None:
    """Do nothing, in Python: what the main thread waits for is left, and the exception comes through."""


def _is_logging(thread: int) -> bool:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, for debuggers such as this one
    while frame is not None:
        if frame.f_globals.get("__name__") == logging.__name__:
            return True
        frame = frame.f_back
    return False
