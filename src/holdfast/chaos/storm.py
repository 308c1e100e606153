"""Faults at random times: drawn from a seed, injected, and healed."""

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from holdfast.chaos.fault import Fault, Target, Wound
from holdfast.chaos.ground import Ground

_ROUND_SECONDS = 0.05


@dataclass
class Outage:
    """A time in which an engine, a worker's way to it, or a worker that is not dead was away."""

    began: datetime
    ended: datetime | None = None


class Storm:
    """Injects faults into a ground, one after another, those that last one over the other.

    Each is drawn, and takes what it draws itself, from the seed and its number alone; when it falls is random
    in the same way. What it then meets is up to the machine.

    Args:
        ground: what is hurt.
        faults: to draw from. All are injected before one comes again, as often as their weights say.
        seed: what everything is drawn from.
        every_seconds: the mean time from one fault to the next.
        tell: is told of each.
    """

    def __init__(
        self,
        ground: Ground,
        faults: Sequence[Fault],
        *,
        seed: int,
        every_seconds: float,
        tell: Callable[[str], object],
    ) -> None:
        self._ground = ground
        self._faults = faults
        self._seed = seed
        self._every_seconds = every_seconds
        self._tell = tell
        self._wounds: list[tuple[float, int, Fault, Wound, Outage]] = []
        self._numbers = itertools.count()
        self.injected: Counter[str] = Counter()
        self.outages: list[Outage] = []

    def rage(self, is_over: Callable[[], bool]) -> None:
        """Inject until told that it is over, then heal everything."""
        drawn = self._drawn()
        fault, rng = next(drawn)
        due = self._later(rng)
        while not is_over():
            self._ground.fleet.tend()
            self._heal(time.monotonic())
            if time.monotonic() >= due:
                # What is hurt already is left alone until it is healed, and this fault's turn is over.
                if fault.target not in self._hurt():
                    self._inject(fault, rng)
                fault, rng = next(drawn)
                due = self._later(rng)
            time.sleep(_ROUND_SECONDS)
        self._heal(float("inf"))

    def _drawn(self) -> Iterator[tuple[Fault, random.Random]]:
        for round_ in itertools.count():
            deck = [fault for fault in self._faults for _ in range(fault.weight)]
            random.Random(f"{self._seed} {round_}").shuffle(deck)  # noqa: S311 - repeatable on purpose
            for place, fault in enumerate(deck):
                yield fault, random.Random(f"{self._seed} {round_} {place}")  # noqa: S311 - as above

    def _later(self, rng: random.Random) -> float:
        return time.monotonic() + min(rng.expovariate(1 / self._every_seconds), 4 * self._every_seconds)

    def _hurt(self) -> set[Target]:
        return {fault.target for _, _, fault, _, _ in self._wounds if fault.target.is_engine}

    def _inject(self, fault: Fault, rng: random.Random) -> None:
        outage = Outage(datetime.now(UTC))
        wound = fault.inject(self._ground, rng)
        self.injected[fault.name] += 1
        self._tell(fault.name if wound is None else f"{fault.name} for {wound.seconds:.1f} s")
        if fault.is_outage:
            self.outages.append(outage)
        if wound is None:
            outage.ended = datetime.now(UTC)
        else:
            due = time.monotonic() + wound.seconds
            heapq.heappush(self._wounds, (due, next(self._numbers), fault, wound, outage))

    def _heal(self, now: float) -> None:
        while self._wounds and self._wounds[0][0] <= now:
            _, _, fault, wound, outage = heapq.heappop(self._wounds)
            wound.heal()
            outage.ended = datetime.now(UTC)
            self._tell(f"{fault.name} healed")
