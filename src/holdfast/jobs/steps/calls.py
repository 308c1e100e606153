"""A step as a task asks for it, and where it stands among the job's steps."""

import asyncio
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError

from holdfast.errors import PermanentError, StepChanged
from holdfast.jobs.steps.fingerprints import differences, fingerprint
from holdfast.jobs.steps.results import ResultType, result_type
from holdfast.jobs.steps.saved import Place, SavedStep
from holdfast.jobs.storable import storable_text

Key = str | int | UUID

MAX_LENGTH: Final = 200


@dataclass(frozen=True)
class Call:
    """A step as the task asks for it.

    Attributes:
        fingerprint: of function and arguments.
        result: what the function returns.
    """

    place: Place
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    fingerprint: bytes
    result: ResultType

    @classmethod
    def of(
        cls, place: Place, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> "Call":
        """The call of a function; `PermanentError` if what it returns cannot be saved."""
        return cls(place, function, args, kwargs, fingerprint(function, args, kwargs), result_type(function))

    @property
    def is_async(self) -> bool:
        """Whether calling the function gives a coroutine."""
        called = getattr(self.function, "__call__", None)  # noqa: B004 - it may be an `async def __call__`
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(called)

    def run(self, *first: object) -> Any:  # noqa: ANN401 - whatever the function gives
        """Call the function, with something before the arguments if need be."""
        return self.function(*first, *self.args, **self.kwargs)

    def load(self, saved: SavedStep) -> Any:  # noqa: ANN401 - the type is the function's
        """The value that was saved.

        Raises:
            StepChanged: it was saved by another function, with other arguments, or no longer fits.
        """
        if changed := differences(saved.fingerprint, self.fingerprint):
            raise StepChanged(self.place.name, self.place.key, changed)
        try:
            return self.result.load(saved.result)
        except ValidationError as error:
            raise StepChanged(self.place.name, self.place.key, ["result type"]) from error


class Places:
    """Gives the steps of one attempt their places."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()
        self._callers: dict[str, object] = {}

    def take(self, name: str, key: Key | None) -> Place:
        """The place of a step by its key, or by its number among those of its name that have none.

        Raises:
            PermanentError: the name cannot be one, or the order of the calls is left to chance (code
                `step_misuse`).
        """
        if not name or len(name) > MAX_LENGTH or storable_text(name) != name:
            raise misuse(f"A step's name has 1 to {MAX_LENGTH} characters, none of them NUL, not {name!r}.")
        return Place(name, self._number(name) if key is None else _stored(key))

    def give_back(self, place: Place) -> None:
        """Let the next call have the number of a step that failed: it is the same step, tried again."""
        if place.key == f"#{self._numbers[place.name] - 1}":
            self._numbers[place.name] -= 1

    def _number(self, name: str) -> str:
        caller = _caller()
        if self._callers.setdefault(name, caller) is not caller:
            # Which of them comes first differs from attempt to attempt, and with it what is saved as first.
            raise misuse(f"Steps called {name!r} are asked for by several tasks or threads: give each a key.")
        number = self._numbers[name]
        self._numbers[name] += 1
        return f"#{number}"


def misuse(message: str) -> PermanentError:
    """The error of a step that is asked for in a way that cannot be kept."""
    return PermanentError(message, code="step_misuse")


def _stored(key: Key) -> str:
    if not isinstance(key, str | int | UUID):
        raise misuse(f"A step's key is a str, an int or a UUID, not {key!r}.")
    text = str(key)
    if len(text) > MAX_LENGTH or storable_text(text) != text:
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"{storable_text(text)[:100]}…{digest}"
    # Numbers begin with one hash.
    return f"#{text}" if text.startswith("#") else text


def _caller() -> object:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop in this thread
        task = None
    return task or threading.current_thread()
