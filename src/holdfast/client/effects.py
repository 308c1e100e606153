"""What a client does to the world, as values.

A plan is a generator that yields effects and is sent what came of them. It holds all that is decided
(retries, resuming, waiting), and does no I/O itself; `Client` performs the effects by blocking, `AsyncClient`
by awaiting, and neither knows more than that. What goes wrong in transport is thrown into the plan.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import httpx

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Upload:
    """A file that is sent in a form, opened anew for each try."""

    path: Path
    name: str


@dataclass(frozen=True)
class Request:
    """An HTTP request that may be sent more than once.

    Attributes:
        params: of the query; those that are `None` are left out.
        body: as JSON text.
        form: fields that are sent along with `upload`.
        read_seconds: how long to wait for the next byte; the client's own time if not given.
    """

    method: str
    path: str
    params: Mapping[str, object] = field(default_factory=dict)
    body: str | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    upload: Upload | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    read_seconds: float | None = None


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read."""

    request: Request
    read: Callable[[httpx.Response], T]


@dataclass(frozen=True)
class Send:
    """Send a request, and give the whole response."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send a request and give its response, the body of which is read piece by piece if it is a success."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Give the next piece of the body that was opened last; nothing at its end."""


@dataclass(frozen=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


@dataclass(frozen=True)
class Emit:
    """Hand this to whoever iterates."""

    item: object


Effect: TypeAlias = Send | Open | Read | Pause | Emit
Outcome: TypeAlias = httpx.Response | bytes | None
Plan: TypeAlias = Generator[Effect, Outcome, T]


class Course(Generic[T]):
    """A plan under way: the effect it asks for, until there is a result."""

    def __init__(self, plan: Plan[T]) -> None:
        self._plan = plan
        self._results: list[T] = []
        self.effect: Effect | None = None
        self._go(lambda: next(plan))

    @property
    def result(self) -> T:
        """What the plan returned."""
        return self._results[0]

    def went(self, outcome: Outcome) -> None:
        """Tell the plan what came of the effect."""
        self._go(lambda: self._plan.send(outcome))

    def failed(self, error: httpx.TransportError) -> None:
        """Tell the plan that the effect failed in transport."""
        self._go(lambda: self._plan.throw(error))

    def emitted(self, item: type[U]) -> U | None:
        """What is handed to whoever iterates, if the effect is that."""
        if not isinstance(self.effect, Emit):
            return None
        if not isinstance(self.effect.item, item):
            raise TypeError(f"{self.effect.item!r} is no {item.__name__}")
        return self.effect.item

    def _go(self, step: Callable[[], Effect]) -> None:
        try:
            self.effect = step()
        except StopIteration as end:
            self.effect = None
            self._results.append(end.value)


def send(request: Request) -> Plan[httpx.Response]:
    """Send a request; raises `httpx.TransportError`."""
    return _response((yield Send(request)))


def opened(request: Request) -> Plan[httpx.Response]:
    """Open a stream; raises `httpx.TransportError`."""
    return _response((yield Open(request)))


def read() -> Plan[bytes]:
    """The stream's next piece; raises `httpx.TransportError`."""
    piece = yield Read()
    if not isinstance(piece, bytes):
        raise TypeError(f"Read gives bytes, not {type(piece).__name__}")
    return piece


def _response(outcome: Outcome) -> httpx.Response:
    if not isinstance(outcome, httpx.Response):
        raise TypeError(f"A request gives a response, not {type(outcome).__name__}")
    return outcome
