"""Things that belong to one process and must not be shared across a fork."""

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_instances: "weakref.WeakSet[PerProcess[Any]]" = weakref.WeakSet()


def is_running(pid: int) -> bool:
    """Whether this process, ours or a child of ours, still runs; a zombie does not."""
    if pid == os.getpid():
        return True
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return exists(pid)
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def exists(pid: int) -> bool:
    """Whether any process of this machine has this id; where it can be seen, a zombie does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # not Linux, or gone since
        return not Path("/proc/self/stat").exists()
    # The state follows the command's name, which is in parentheses and may hold any character.
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


class PerProcess(Generic[T]):
    """A value made when first asked for in each process; a forked child makes its own.

    Celery's prefork children inherit the parent's memory: a connection pool, thread or event loop found
    there is either shared by accident or does not run at all.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value: T | None = None
        _instances.add(self)

    def get(self) -> T:
        """The value of this process."""
        value = self._value
        if value is None:
            with self._lock:
                value = self._value
                if value is None:
                    value = self._value = self._make()
        return value

    def take(self) -> T | None:
        """The value, if one was made, for its last use: the next `get` makes another."""
        with self._lock:
            value, self._value = self._value, None
            return value

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._value = None


def _forget_all() -> None:
    for instance in list(_instances):
        instance._forget()  # noqa: SLF001 - the other half of this class


os.register_at_fork(after_in_child=_forget_all)
