"""Jobs that wait for a provider, a thousand at a time in one worker: Holdfast and its peers, in turns.

The backlog is there before the worker starts. The makespan runs from the moment the first job has begun to
the end of the last one, as the jobs themselves say, so that starting a worker is not in it and filling every
slot is. Ideal is the number of jobs times their seconds through the number of slots.
"""

from dataclasses import dataclass
from statistics import median

from benchmarks.bed import bed
from benchmarks.contenders.arena import Arena, Work
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.entering import Entrants
from benchmarks.contenders.table import contenders
from benchmarks.figures import Figures, Size, megabytes, ranged
from benchmarks.programs import free_port

ROUNDS = {"full": 1, "quick": 1}
# Jobs and their seconds.
LOADS = {"full": ((1_000, 10.0), (5_000, 2.0)), "quick": ((1_000, 2.0),)}
KINDS = ("sleep", "http")
START_SECONDS = 60
# A worker with fewer slots would take hours: it is given so many jobs for each, and the rest is reckoned.
FEW_SLOTS = 100
JOBS_A_SLOT = 2


@dataclass(frozen=True)
class Outcome:
    """A contender's run. `reckoned` says that it ran `jobs` and the makespan was multiplied.

    Attributes:
        ideal: seconds.
        makespan: seconds.
        memory: the worker's, at most, in bytes.
        cpu_ms: of worker, PostgreSQL and Valkey for one job, starting the worker left out.
        most_at_once: jobs that ran at the same time.
        repeated: jobs that began more than once.
        kept: finished jobs that it can tell of.
    """

    jobs: int
    ideal: float
    makespan: float
    memory: int
    cpu_ms: float
    most_at_once: int
    repeated: int
    kept: int
    reckoned: bool


def main(size: Size) -> Figures:
    figures = Figures()
    with bed() as own:
        arena = Arena(own)
        port = free_port()
        own.run("provider", "-m", "benchmarks.contenders.provider", str(port))
        entrants = Entrants(arena, contenders(), figures)
        for jobs, seconds in LOADS[size]:
            for kind in KINDS:
                work = Work(kind, seconds)
                provider = f"http://127.0.0.1:{port}/{seconds}"
                name = f"{jobs:,} x {work.name}"
                outcomes = entrants.take_turns(
                    name, ROUNDS[size], lambda each, w=work, j=jobs, p=provider: _run(arena, each, w, j, p)
                )
                _show(name, outcomes, figures)
    return figures


def _run(arena: Arena, contender: Contender, work: Work, jobs: int, provider: str) -> Outcome:
    few = contender.slots < FEW_SLOTS
    given = min(jobs, contender.slots * JOBS_A_SLOT) if few else jobs
    ideal = jobs * work.seconds / min(jobs, 1_000)
    with arena.run(contender, work, provider=provider) as run:
        run.ask("fill", 0, given)
        run.start_worker(1, contender.slots)
        with run.peaks().watched() as peaks:
            run.wait_for_begin(START_SECONDS)
            before = run.used()
            run.wait_for_ends(given, 60 + 8 * given * work.seconds / min(given, contender.slots))
        used = {name: seconds - before[name] for name, seconds in run.used().items()}
        times = run.times()
        kept = run.await_records(given)
    return Outcome(
        jobs=given,
        ideal=ideal,
        makespan=times.makespan * jobs / given,
        memory=peaks.bytes["worker"],
        cpu_ms=sum(used.values()) * 1_000 / given,
        most_at_once=times.most_at_once,
        repeated=times.repeated,
        kept=kept,
        reckoned=given < jobs,
    )


def _show(name: str, outcomes: dict[str, list[Outcome]], figures: Figures) -> None:
    for contender, rounds in outcomes.items():
        if not rounds:
            continue
        first = rounds[0]
        makespan = ranged([each.makespan for each in rounds], 1)
        about = [
            f"{makespan} s; {median(each.makespan for each in rounds) / first.ideal:.2f} of the ideal"
            f" {first.ideal:.0f} s",
            f"{megabytes(median(each.memory for each in rounds))}",
            f"{median(each.cpu_ms for each in rounds):.1f} ms of CPU a job",
            f"{max(each.most_at_once for each in rounds):,} at once",
        ]
        if first.reckoned:
            about.append(f"reckoned from {first.jobs}")
        if any(each.repeated for each in rounds):
            about.append(f"begun twice: {max(each.repeated for each in rounds)}")
        figures.show(f"{name}: {contender}", "; ".join(about))
