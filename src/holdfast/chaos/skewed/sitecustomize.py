"""A clock that is wrong: Python's own, moved by `HOLDFAST_CHAOS_CLOCK_SECONDS`.

Python loads this module at its start when its folder is on the path. It moves what Python code reads:
`time.time` and its kin, and `datetime.now`. Libraries in C, and the kernel, still see the true time; so do
the monotonic clocks, which no setting of a clock moves on a real machine either.
"""

import datetime as dt
import os
import time
from collections.abc import Callable
from typing import Any

_SECONDS = float(os.environ.get("HOLDFAST_CHAOS_CLOCK_SECONDS", "0"))
_time, _time_ns, _clock_gettime = time.time, time.time_ns, time.clock_gettime
_gmtime, _localtime, _strftime = time.gmtime, time.localtime, time.strftime
_datetime = dt.datetime


class _AsTheOriginal(type):
    """Lets what C code has made pass for an instance."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.__mro__[1])

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.__mro__[1])


class _Datetime(_datetime, metaclass=_AsTheOriginal):
    __slots__ = ()

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> "_datetime":  # type: ignore[override]
        return _datetime.now(tz) + dt.timedelta(seconds=_SECONDS)

    @classmethod
    def utcnow(cls) -> "_datetime":  # type: ignore[override]
        return _datetime.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> "_datetime":  # type: ignore[override]
        return cls.now()


class _Builtin:
    """Calls a function. Unlike one it becomes no method in a class, such as that of `logging`'s formatter."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401 - as the original
        return self._function(*args)


def _strftime_now(form: str, *moment: Any) -> str:  # noqa: ANN401 - a tuple or a struct_time
    return _strftime(form, *(moment or (time.localtime(),)))


def _move() -> None:
    time.time = _Builtin(lambda: _time() + _SECONDS)
    time.time_ns = _Builtin(lambda: _time_ns() + int(_SECONDS * 1e9))
    time.clock_gettime = _Builtin(
        lambda clock: _clock_gettime(clock) + _SECONDS * (clock == time.CLOCK_REALTIME)
    )
    time.gmtime = _Builtin(lambda seconds=None: _gmtime(time.time() if seconds is None else seconds))
    time.localtime = _Builtin(lambda seconds=None: _localtime(time.time() if seconds is None else seconds))
    time.strftime = _Builtin(_strftime_now)
    dt.datetime = _Datetime  # type: ignore[misc]


if _SECONDS:
    _move()
