"""The API, as the commands use it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.errors import ApiUnreachable, ConfigurationError

if TYPE_CHECKING:
    from holdfast.client import Client
    from holdfast.settings import Settings

# For a server that goes away while it is being waited for. One that is not there at first is told at once.
PATIENCE_SECONDS = 60.0


@contextmanager
def connected() -> "Iterator[Client]":
    """The API that the settings name, or the one that `holdfast up` runs beside this folder.

    Raises:
        ConfigurationError: there is no key, or the API does not answer.
    """
    # Half of the time that httpx takes to import goes into a command line of its own, which this process,
    # being one itself, does not need.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    from holdfast.client import Client
    from holdfast.settings import Settings

    settings = Settings()
    with Client(settings.url, _key(settings), patience=0) as client:
        try:
            yield client
        except ApiUnreachable as error:
            told = f"{error.message} Start it with `holdfast up`, or set HOLDFAST_URL."
            raise ConfigurationError(told) from error


def _key(settings: "Settings") -> str:
    from holdfast.cli.local_key import key_file

    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    try:
        return key_file(settings).read_text().strip()
    except FileNotFoundError:
        raise ConfigurationError(
            "There is no API key. Start `holdfast up` here first, or set HOLDFAST_API_KEY."
        ) from None
