"""Who takes part: contenders that could be installed, run in turns; what fails is shown, not left out."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from benchmarks.contenders.arena import AppFailed, Arena, failure
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.environments import NotInstalled
from benchmarks.figures import Figures
from benchmarks.programs import NotReady

T = TypeVar("T")


class Entrants:
    """The contenders that are installed; of the others the figures say why they are not.

    Their versions and what they keep are in the figures' data.
    """

    def __init__(self, arena: Arena, contenders: Sequence[Contender], figures: Figures) -> None:
        self._figures = figures
        self._names: dict[str, Contender] = {}
        figures.data["packages"] = {}
        for contender in contenders:
            try:
                versions = arena.environment(contender).versions()
            except NotInstalled as error:
                figures.show(contender.name, f"not installed: {failure(error)}")
                continue
            number = versions.get(contender.distribution, "")
            name, _, way = contender.name.partition(", ")
            self._names[f"{name} {number}{f', {way}' if way else ''}"] = contender
            figures.data["packages"][contender.distribution] = versions

    def __iter__(self) -> Any:
        return iter(self._names.items())

    def take_turns(self, what: str, rounds: int, run: Callable[[Contender], T]) -> dict[str, list[T]]:
        """Run each once in every round, each round beginning with another; returns what they have reached.

        One that fails is shown, and does not take part in later rounds of this.
        """
        outcomes: dict[str, list[T]] = {name: [] for name in self._names}
        failed: dict[str, str] = {}
        order = list(self._names)
        for number in range(rounds):
            turn = number % max(1, len(order))
            for name in order[turn:] + order[:turn]:
                if name in failed:
                    continue
                try:
                    outcomes[name].append(run(self._names[name]))
                except (AppFailed, NotReady) as error:
                    failed[name] = failure(error)
                    self._figures.show(f"{what}: {name}", f"failed: {failed[name]}")
                else:
                    print(f"  {what}: {name}: {outcomes[name][-1]}", flush=True)
        self._figures.data[what] = {
            name: {"rounds": [asdict(each) for each in outcomes[name]], "failed": failed.get(name)}
            for name in self._names
        }
        return outcomes
