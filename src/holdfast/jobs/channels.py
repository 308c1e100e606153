"""By what a job's end may be told: names of channels, and who checks what is said of them.

The engine stores whom to notify and brings nothing: jobs of their own do, which the database makes when a job
ends.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import JsonValue

from holdfast.errors import ConfigurationError, InvalidArguments
from holdfast.jobs.storable import check_storable

Check = Callable[[JsonValue], object]


class Channels:
    """The channels an application has, none at first; see `holdfast.notify`."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Let jobs name this channel; `check` raises `InvalidArguments` for a target it cannot reach.

        Raises:
            ConfigurationError: there is a channel of this name.
        """
        if name in self._checks:
            raise ConfigurationError(f"There are two channels called {name!r}.")
        self._checks[name] = check

    def checked(self, notify: Mapping[str, JsonValue] | None) -> dict[str, Any] | None:
        """Whom to notify, as it is stored; `None` for nobody.

        Raises:
            InvalidArguments: there is no such channel, or it refuses the target.
        """
        for name, target in (notify or {}).items():
            if name not in self._checks:
                raise InvalidArguments(f"notify: there is no channel {name!r} here, but {self._names()}.")
            self._checks[name](target)
            try:
                check_storable(target)
            except ValueError as error:
                raise InvalidArguments(f"notify: {error}") from error
        return dict(notify) if notify else None

    def _names(self) -> str:
        return ", ".join(self._checks) or "none at all"
