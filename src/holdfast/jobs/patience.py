"""Waiting out a database that is away for a moment."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from holdfast.errors import DatabaseUnavailable

T = TypeVar("T")

log = logging.getLogger(__name__)


def reason(error: Exception) -> str:
    """What went wrong, for a log line: the database's own words, without the statement or the users' data."""
    original = getattr(error, "orig", None) or error
    # The detail of a refused row shows the row.
    said = original.diag.message_primary if isinstance(original, psycopg.Error) else None
    return f"{type(original).__name__}: {said or original}".strip()


def is_away(error: DBAPIError | NoFreeConnection) -> bool:
    """Whether the database could not be reached or could not serve, so that trying again may help.

    By SQLSTATE class (PostgreSQL documentation, appendix A): connections, transactions that gave way,
    resources, an operator's doing, and a server that only reads, which is how one looks that was replaced; no
    state at all means that the server did not answer.
    """
    if isinstance(error, NoFreeConnection):
        return True
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state[:2] in ("08", "40", "53", "57") or state == "25006"


class _Pauses:
    """Growing pauses, 2 s at most, until `patience` is over."""

    def __init__(self, patience: timedelta, pause: float) -> None:
        self._deadline = time.monotonic() + patience.total_seconds()
        self._pause = pause

    def after(self, error: DBAPIError | NoFreeConnection) -> float:
        """Seconds to wait; raises `error` if that cannot help, and `DatabaseUnavailable` at the end."""
        if not is_away(error):
            raise error
        pause = self._pause
        if time.monotonic() + pause > self._deadline:
            raise DatabaseUnavailable from error
        log.warning("PostgreSQL is away, trying again in %.1f s: %s", pause, reason(error))
        self._pause = min(pause * 2, 2.0)
        return pause


_AWAY = (OperationalError, InterfaceError, InternalError, NoFreeConnection)


def patiently(operation: Callable[[], T], *, patience: timedelta, pause: float = 0.1) -> T:
    """Run a database operation again while the connection is what fails, with growing pauses (2 s at most).

    For operations that may safely run twice: a fenced write that did commit matches nothing the second time.

    Raises:
        DatabaseUnavailable: it still failed when `patience` was over.
    """
    pauses = _Pauses(patience, pause)
    while True:
        try:
            return operation()
        except _AWAY as error:
            time.sleep(pauses.after(error))


async def patiently_async(
    operation: Callable[[], Awaitable[T]], *, patience: timedelta, pause: float = 0.1
) -> T:
    """As `patiently`, on an event loop."""
    pauses = _Pauses(patience, pause)
    while True:
        try:
            return await operation()
        except _AWAY as error:
            await asyncio.sleep(pauses.after(error))
