"""Which `Holdfast` a command works for."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from holdfast.errors import ConfigurationError
from holdfast.settings import Settings

if TYPE_CHECKING:
    from holdfast.app import Holdfast


def load_holdfast(target: str | None = None) -> "Holdfast":
    """Import `module:attribute`; the setting `HOLDFAST_APP` if not given.

    Raises:
        ConfigurationError: there is no such module or attribute, or it is no `Holdfast`.
    """
    from holdfast.app import Holdfast  # heavy: only commands that need the engine load it

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
