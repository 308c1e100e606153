"""Which `Holdfast` a command works for, and what is said when its database does not."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from holdfast.errors import ConfigurationError, DatabaseUnavailable

if TYPE_CHECKING:
    from holdfast.app import Holdfast


def load_holdfast(target: str | None = None) -> "Holdfast":
    """Import `module:attribute`; the setting `HOLDFAST_APP` if not given.

    Raises:
        ConfigurationError: there is no such module or attribute, or it is no `Holdfast`.
    """
    # Heavy: only commands that need the engine load it.
    from holdfast.app import Holdfast
    from holdfast.settings import Settings

    target = target or Settings().app
    # A console script does not look for modules where it is run; celery and uvicorn do, and so do we.
    if "" not in sys.path:
        sys.path.insert(0, "")
    module_name, _, attribute = target.partition(":")
    try:
        found = getattr(import_module(module_name), attribute or "holdfast")
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{target!r} cannot be loaded: {error}") from error
    if not isinstance(found, Holdfast):
        raise ConfigurationError(f"{target!r} is a {type(found).__name__}, not a Holdfast.")
    return found


@contextmanager
def database_errors() -> Iterator[None]:
    """Say in a line what went wrong with the database in the block.

    Raises:
        DatabaseUnavailable: it cannot be reached, or is too busy.
        ConfigurationError: it has no tables yet, or refused what was asked.
    """
    from psycopg.errors import UndefinedTable
    from sqlalchemy.exc import DBAPIError, OperationalError

    try:
        yield
    except OperationalError as error:
        raise DatabaseUnavailable(f"The database cannot be used: {error.orig}") from error
    except DBAPIError as error:
        if isinstance(error.orig, UndefinedTable):
            raise ConfigurationError("The database is empty. Run `holdfast migrate` first.") from error
        raise ConfigurationError(f"The database refused: {error.orig}") from error
