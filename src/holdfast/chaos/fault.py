"""What a fault is: something that breaks, and what it takes to heal it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from holdfast.chaos.ground import Ground


class Target(StrEnum):
    """What a fault is done to. An engine that is hurt is not hurt again before it is healed."""

    WORKER = "worker"
    SUBMITTER = "submitter"
    POSTGRES = "postgres"
    VALKEY = "valkey"
    NETWORK = "network"
    MESSAGES = "messages"
    API = "api"

    @property
    def is_engine(self) -> bool:
        """Whether all workers depend on it."""
        return self in (Target.POSTGRES, Target.VALKEY)


@dataclass(frozen=True)
class Wound:
    """What a fault that lasts leaves behind: it is healed after so many seconds."""

    seconds: float
    heal: Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """One way to break things.

    Attributes:
        inject: does it; returns what is left to heal, or `None` when it is over at once.
        target: what it is done to.
        weight: how often it is drawn, in proportion to the others.
        is_outage: while it lasts, jobs wait for what is away, and not only for another worker.
    """

    inject: Callable[[Ground, Random], Wound | None]
    target: Target
    weight: int = 1
    is_outage: bool = False

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return self.inject.__name__.replace("_", "-")

    @property
    def summary(self) -> str:
        """A line about it."""
        return (self.inject.__doc__ or "").partition("\n")[0]
