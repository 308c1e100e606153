"""Waiting out a database that is away for a moment."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError

from holdfast.errors import DatabaseUnavailable

T = TypeVar("T")

log = logging.getLogger(__name__)


def reason(error: Exception) -> str:
    """What went wrong, for a log line: the database's own words, without the statement."""
    return f"{type(error).__name__}: {getattr(error, 'orig', None) or error}".strip()


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
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() + pause > deadline:
                raise DatabaseUnavailable from error
            log.warning("PostgreSQL is away, trying again in %.1f s: %s", pause, reason(error))
            time.sleep(pause)
            pause = min(pause * 2, 2.0)
