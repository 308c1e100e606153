"""What a part hands back: figures to read, and the data they were made from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Size = Literal["quick", "full"]


@dataclass(frozen=True)
class Figure:
    """One line of the results. `goal` is what the project wants of it."""

    name: str
    value: str
    goal: str = ""


@dataclass
class Figures:
    """A part's results: figures for the table, data for the JSON."""

    shown: list[Figure] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def show(self, name: str, value: str, goal: str = "") -> None:
        """Add a line to the table, and print it."""
        self.shown.append(Figure(name, value, goal))
        print(f"{name}: {value}{f'  [goal: {goal}]' if goal else ''}", flush=True)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Count, median, p95, p99 and both ends."""
    return {
        "samples": len(values),
        "min": round(min(values), 3),
        "median": round(median(values), 3),
        "p95": round(quantile(values, 0.95), 3),
        "p99": round(quantile(values, 0.99), 3),
        "max": round(max(values), 3),
    }


def told(values: Sequence[float], unit: str, digits: int = 1) -> str:
    """Median and tail in one cell."""
    facts = spread(values)
    names = ("median", "p95", "p99", "max")
    return f"{', '.join(f'{name} {facts[name]:.{digits}f}' for name in names)} {unit} (n = {len(values)})"


def ranged(values: Sequence[float], digits: int = 2) -> str:
    """Median, and both ends in brackets."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"
