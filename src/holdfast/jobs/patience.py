"""Waiting out a database that is away for a moment."""

import logging
import time
from collections.abc import Callable
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


def patiently(operation: Callable[[], T], *, patience: timedelta, pause: float = 0.1) -> T:
    """Run a database operation again while the connection is what fails, with growing pauses (2 s at most).

    For operations that may safely run twice: a fenced write that did commit matches nothing the second time.

    Raises:
        DatabaseUnavailable: it still failed when `patience` was over.
    """
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        try:
            return operation()
        except (OperationalError, InterfaceError, InternalError, NoFreeConnection) as error:
            if not is_away(error):
                raise
            if time.monotonic() + pause > deadline:
                raise DatabaseUnavailable from error
            log.warning("PostgreSQL is away, trying again in %.1f s: %s", pause, reason(error))
            time.sleep(pause)
            pause = min(pause * 2, 2.0)
