"""Jobs that do nothing, by one worker process and by two: Holdfast and its peers, in turns.

The backlog is there before the worker starts. The rate is taken from the moment a tenth has ended to the end,
as the jobs themselves say, so that starting is not in it. Afterwards each contender is asked how many
finished jobs it can tell of: a rate without records is another thing than one with them.
"""

from dataclasses import dataclass
from statistics import median

from benchmarks.bed import bed
from benchmarks.contenders.arena import Arena, Run, Work
from benchmarks.contenders.contender import Contender, Kept
from benchmarks.contenders.entering import Entrants
from benchmarks.contenders.table import contenders
from benchmarks.figures import Figures, Size, ranged

ROUNDS = {"full": 3, "quick": 1}
JOBS = {"full": 5_000, "quick": 500}
PROCESSES = (1, 2)
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """A contender's run: jobs a second, ms of CPU for a job by who used them, what it can tell of."""

    rate: float
    cpu_ms: dict[str, float]
    repeated: int
    kept: int

    @property
    def whole_cpu_ms(self) -> float:
        return sum(self.cpu_ms.values())


def main(size: Size) -> Figures:
    figures = Figures()
    with bed() as own:
        arena = Arena(own)
        entrants = Entrants(arena, contenders(), figures)
        for name, contender in entrants:
            _tell_kept(name, contender.kept, figures)
        for processes in PROCESSES:
            name = f"{processes} worker process{'es' * (processes > 1)}"
            outcomes = entrants.take_turns(
                name, ROUNDS[size], lambda each, p=processes: _run(arena, each, p, JOBS[size])
            )
            for contender, rounds in outcomes.items():
                _show(f"{name}: {contender}", rounds, JOBS[size], figures)
    return figures


def _run(arena: Arena, contender: Contender, processes: int, jobs: int) -> Outcome:
    with arena.run(contender, Work()) as run:
        run.ask("fill", 0, jobs)
        run.start_worker(processes, contender.busy_slots)
        run.wait_for_ends(jobs // 10, PATIENCE_SECONDS)
        first, before = len(run.times().ended), run.used()
        run.wait_for_ends(jobs, PATIENCE_SECONDS)
        return _outcome(run, jobs, jobs - first, before)


def _outcome(run: Run, jobs: int, measured: int, before: dict[str, float]) -> Outcome:
    times = run.times()
    kept = run.await_records(jobs)
    # Writing the last records is part of the work, so that CPU time is read when they are there.
    used = {name: seconds - before[name] for name, seconds in run.used().items()}
    return Outcome(
        rate=times.rate(),
        cpu_ms={name: seconds * 1_000 / max(1, measured) for name, seconds in used.items()},
        repeated=times.repeated,
        kept=kept,
    )


def _tell_kept(name: str, kept: Kept, figures: Figures) -> None:
    figures.show(
        f"{name}: durable",
        f"{'yes' if kept.is_durable else 'no'}: jobs in {kept.record}; Valkey's memory lost: "
        f"{kept.broker_lost}; worker killed: {kept.worker_killed}; result: {kept.result}; "
        f"history: {kept.history}",
    )


def _show(name: str, rounds: list[Outcome], jobs: int, figures: Figures) -> None:
    if not rounds:
        return
    shares = {part: median(each.cpu_ms[part] for each in rounds) for part in rounds[0].cpu_ms}
    told = ", ".join(f"{part} {share:.2f}" for part, share in shares.items())
    cpu = median(each.whole_cpu_ms for each in rounds)
    about = f"{ranged([each.rate for each in rounds], 0)} a second; {cpu:.2f} ms of CPU a job ({told})"
    kept = min(each.kept for each in rounds)
    if kept < jobs:
        about += f"; finished jobs it can tell of: {kept:,} of {jobs:,}"
    figures.show(name, about)
