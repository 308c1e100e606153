"""How long a job waits until a worker begins it, for Holdfast and its peers, in turns.

From just before the call that enqueues it to the first line of the job, both told by the machine's one clock,
so that the call itself is inside. One worker process; jobs do nothing. One at a time on an idle system, then
at random times with half the rate at which the contender has worked off a burst, and with one rate for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.bed import bed
from benchmarks.contenders.arena import Arena, Run, Work
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.entering import Entrants
from benchmarks.contenders.table import contenders
from benchmarks.figures import Figures, Size, quantile

ROUNDS = {"full": 2, "quick": 1}
LONE = {"full": 100, "quick": 10}
BURST = {"full": 2_000, "quick": 200}
STEADY_SECONDS = {"full": 15, "quick": 3}
COMMON_RATE = 50
WARM_UP = 20
PATIENCE_SECONDS = 120
LONE_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """Milliseconds from submitting to beginning; jobs a second of the burst, and at half of that."""

    capacity: float
    reached: float
    lone: list[float] = field(repr=False)
    half: list[float] = field(repr=False)
    common: list[float] = field(repr=False)


def main(size: Size) -> Figures:
    figures = Figures()
    with bed() as own:
        arena = Arena(own)
        entrants = Entrants(arena, contenders(), figures)
        outcomes = entrants.take_turns("latency", ROUNDS[size], lambda each: _run(arena, each, size))
    for name, rounds in outcomes.items():
        if rounds:
            _show(name, rounds, figures)
    return figures


def _run(arena: Arena, contender: Contender, size: Size) -> Outcome:
    with arena.run(contender, Work()) as run:
        run.start_worker(1, contender.busy_slots)
        run.ask("fill", 0, WARM_UP)
        run.wait_for_ends(WARM_UP, PATIENCE_SECONDS)
        first = WARM_UP
        run.ask("lone", first, LONE[size], seconds=30 + LONE[size] * LONE_SECONDS)
        lone = _waits(run, first)
        first += LONE[size]
        capacity = _burst(run, first, BURST[size])
        first += BURST[size]
        half, reached = _steady(run, first, capacity / 2, STEADY_SECONDS[size])
        common, _ = _steady(run, first + len(half), COMMON_RATE, STEADY_SECONDS[size])
    return Outcome(capacity, reached, lone, half, common)


def _burst(run: Run, first: int, count: int) -> float:
    """Jobs a second that end while there is always a next one, enqueuing them included."""
    run.ask("fill", first, count)
    run.wait_for_ends(first + count, PATIENCE_SECONDS)
    times = run.times()
    begun = min(at for number, at in times.begun.items() if number >= first)
    return count / (max(times.ended.values()) - begun)


def _steady(run: Run, first: int, rate: float, seconds: float) -> tuple[list[float], float]:
    """Waits, and jobs a second that were submitted: fewer than asked where submitting takes long."""
    run.ask("steady", first, rate, seconds, seconds=seconds * 3 + PATIENCE_SECONDS)
    submitted = [at for number, at in run.times().submitted.items() if number >= first]
    run.wait_for_ends(first + len(submitted), PATIENCE_SECONDS)
    return _waits(run, first), len(submitted) / max(seconds, max(submitted) - min(submitted))


def _waits(run: Run, first: int) -> list[float]:
    times = run.times()
    return [
        round((times.begun[number] - at) * 1_000, 2)
        for number, at in sorted(times.submitted.items())
        if number >= first
    ]


def _show(name: str, rounds: Sequence[Outcome], figures: Figures) -> None:
    capacity = median(each.capacity for each in rounds)
    reached = median(each.reached for each in rounds)
    figures.show(f"lone job: {name}", _told([each.lone for each in rounds]))
    figures.show(
        f"at half load: {name}",
        f"{_told([each.half for each in rounds])} at {reached:,.0f} jobs a second (burst: {capacity:,.0f})",
    )
    figures.show(f"at {COMMON_RATE} jobs a second: {name}", _told([each.common for each in rounds]))


def _told(rounds: Sequence[Sequence[float]]) -> str:
    """Median and tail of all rounds, and the ends of the rounds' medians."""
    every = [wait for waits in rounds for wait in waits]
    medians = [median(waits) for waits in rounds]
    return (
        f"median {median(every):.1f} ms ({min(medians):.1f} to {max(medians):.1f}), "
        f"p95 {quantile(every, 0.95):.1f}, p99 {quantile(every, 0.99):.1f} (n = {len(every)})"
    )
