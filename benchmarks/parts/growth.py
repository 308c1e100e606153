"""Whether anything becomes slower while finished jobs pile up: the engine's functions over the table's size.

A database for each size, visited in turns, so that what the machine does besides meets all sizes alike. A
visit repeats one cycle: submit a job that is left to the relay, dispatch it, claim it, complete it, and read:
a recent job, any job, the newest jobs of an owner, and the owner's failed ones. Every function runs in a
transaction of its own, commit included; the carrier takes every message and does nothing. Afterwards the
largest database is given a million queued jobs and the smallest a few thousand, and they take turns again. At
last the pages of the dashboard are asked for over the largest.
"""

import random
import shutil
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from statistics import median
from uuid import UUID

from sqlalchemy import text

from benchmarks.bed import Bed, bed
from benchmarks.figures import Figures, Size, spread
from benchmarks.growing import BYTES_A_JOB, Grown, add_queued, grow
from benchmarks.paging import show_pages
from holdfast.jobs import queries, store
from holdfast.jobs.delivery.relay import Relay
from holdfast.jobs.delivery.sending import Delivery
from holdfast.jobs.delivery.waiting import Backlog
from holdfast.jobs.ids import new_id
from holdfast.states import JobStatus

SIZES = {
    "full": (1_000, 10_000, 100_000, 1_000_000, 10_000_000),
    "quick": (1_000, 10_000, 100_000),
}
QUEUED = {"full": 1_000_000, "quick": 10_000}
# More than the broker is given at once, so that the relay has the same work with both backlogs.
FEW_QUEUED = 3_000
ROUNDS = {"full": 10, "quick": 2}
CYCLES = {"full": 100, "quick": 20}
LEASE = timedelta(minutes=1)
GOAL = "less than 20 % change"
KNOWN_IDS = 2_000

Milliseconds = dict[str, list[float]]


class Sink:
    """A carrier that takes everything; what it took is claimed from here."""

    def __init__(self) -> None:
        self.taken: deque[Delivery] = deque()

    def send(self, deliveries: Sequence[Delivery]) -> None:
        self.taken.extend(deliveries)

    def backlog(self, _: str) -> Backlog:
        return Backlog({})


class Visitor:
    """Goes through the cycle in one database, and keeps the milliseconds of each function."""

    def __init__(self, grown: Grown) -> None:
        self._grown = grown
        self._database = grown.database
        self._sink = Sink()
        # The relay's feed asks for nothing else of its carrier.
        self._relay = Relay(grown.database, self._sink, knows=set)  # type: ignore[arg-type]
        self._rng = random.Random(grown.jobs)
        self._any, self._recent = self._ids("ORDER BY random()"), self._ids("ORDER BY id DESC")
        while self._relay.feed():
            pass  # until the broker has as much of a backlog as it is given at once

    def visit(self, cycles: int) -> Milliseconds:
        """Go through the cycle; the first few times for caches and prepared statements."""
        found: Milliseconds = defaultdict(list)
        for _ in range(10):
            self._cycle(defaultdict(list))
        for _ in range(cycles):
            self._cycle(found)
        return found

    def _cycle(self, found: Milliseconds) -> None:
        new = store.NewJob(new_id(), "summarize", {}, "default", 5, 4, 3, is_left_to_relay=True)
        _timed(found, "submit", lambda: self._written(lambda session: store.enqueue(session, new)))
        _timed(found, "dispatch", self._relay.feed)
        job_id = self._sink.taken.popleft().id
        claim = _timed(found, "claim", lambda: self._written(lambda session: self._claim(session, job_id)))
        if claim is None:
            raise RuntimeError("A job that was sent was not to be had.")
        result = {"words": 2}
        _timed(
            found,
            "complete",
            lambda: self._written(lambda session: store.complete(session, claim, result, None)),
        )
        _timed(found, "status of a recent job", lambda: self._read(self._rng.choice(self._recent)))
        _timed(found, "status of any job", lambda: self._read(self._rng.choice(self._any)))
        _timed(found, "list of 20", lambda: self._list(None))
        _timed(found, "list of 20 failed", lambda: self._list(JobStatus.FAILED))

    def _written(self, write: Callable[..., object]) -> object:
        with self._database.transaction() as session:
            return write(session)

    def _claim(self, session, job_id: UUID) -> object:
        return store.claim(session, job_id, worker="benchmark", process=1, lease=LEASE)

    def _read(self, job_id: UUID) -> None:
        with self._database.session() as session:
            session.execute(queries.SHOWN_JOB, {"job_id": job_id}).one()

    def _list(self, status: JobStatus | None) -> None:
        where = queries.JobFilter(owner_id=self._grown.owner_id, status=status)
        with self._database.session() as session:
            queries.list_jobs(session, queries.Page(where, 20))

    def _ids(self, order: str) -> list[UUID]:
        share = min(100.0, 100 * 20 * KNOWN_IDS / self._grown.jobs)
        source = f"holdfast.jobs TABLESAMPLE SYSTEM ({share})" if "random" in order else "holdfast.jobs"
        query = text(f"SELECT id FROM {source} WHERE status <> 'queued' {order} LIMIT {KNOWN_IDS}")
        with self._database.session() as session:
            return list(session.scalars(query))


def main(size: Size) -> Figures:
    figures = Figures()
    with bed() as own:
        _check_room(own, size)
        grown = [_grown(own, jobs, figures) for jobs in SIZES[size]]
        found = _rounds({f"{each.jobs:,}": Visitor(each) for each in grown}, size)
        _show("", found, figures)
        smallest, largest = grown[0], grown[-1]
        visitors = {}
        for each, queued in ((smallest, FEW_QUEUED), (largest, QUEUED[size])):
            add_queued(each, queued)
            visitors[f"{each.jobs:,} and {queued:,} queued"] = Visitor(each)
        found = _rounds(visitors, size)
        _show("with a backlog, ", found, figures)
        show_pages(own, largest, figures, f"{largest.jobs:,} jobs and {QUEUED[size]:,} queued")
        for each in grown:
            each.database.close()
    return figures


def _check_room(own: Bed, size: Size) -> None:
    needed = BYTES_A_JOB * (sum(SIZES[size]) + QUEUED[size])
    free = shutil.disk_usage(own.folder).free
    print(f"Needs {needed / 1e9:.1f} GB in {own.folder.parent}; {free / 1e9:.1f} GB are free.", flush=True)
    if free < needed * 1.5:
        raise SystemExit("Too little room: name another folder with TMPDIR, or take QUICK=1.")


def _grown(own: Bed, jobs: int, figures: Figures) -> Grown:
    began = time.monotonic()
    grown = grow(own, jobs)
    with own.connect() as connection:
        taken = grown.count_bytes(connection)
    print(f"  {jobs:,} jobs: {taken / 1e9:.2f} GB, {time.monotonic() - began:.0f} s", flush=True)
    figures.data[f"{jobs:,} jobs"] = {"bytes": taken}
    return grown


def _rounds(visitors: dict[str, Visitor], size: Size) -> dict[str, list[Milliseconds]]:
    """What each round found, by the database; each round begins with another one."""
    found: dict[str, list[Milliseconds]] = {name: [] for name in visitors}
    order = list(visitors)
    for number in range(ROUNDS[size]):
        turn = number % len(order)
        for name in order[turn:] + order[:turn]:
            found[name].append(visitors[name].visit(CYCLES[size]))
        print(f"  round {number + 1} of {ROUNDS[size]}", flush=True)
    return found


def _show(prefix: str, found: dict[str, list[Milliseconds]], figures: Figures) -> None:
    """The medians over the size, and the largest one's to the smallest one's, taken within each round."""
    first, *_, last = found
    for function in found[first][0]:
        medians = {name: [median(each[function]) for each in rounds] for name, rounds in found.items()}
        ratios = [much / little for much, little in zip(medians[last], medians[first], strict=True)]
        told = ", ".join(f"{name}: {median(values):.2f} ms" for name, values in medians.items())
        change = f"{(median(ratios) - 1) * 100:+.0f} % ({min(ratios) - 1:+.0%} to {max(ratios) - 1:+.0%})"
        figures.show(f"{prefix}{function}", f"{change}; {told}", GOAL)
        every = {
            name: spread([each for one in rounds for each in one[function]]) for name, rounds in found.items()
        }
        figures.data[f"{prefix}{function}"] = {"medians": medians, "all": every, "ratios": ratios}


def _timed(found: Milliseconds, name: str, function: Callable[[], object]):
    began = time.perf_counter()
    result = function()
    found[name].append((time.perf_counter() - began) * 1_000)
    return result
