"""Jobs that belong together: a parent's children, a batch, the ticks of a schedule; each is there, and once.

Pure, as `holdfast.chaos.history` is: records in, violations out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from holdfast.chaos.history import History, JobRecord, Rule, Violation


def check_batches(history: History) -> Iterator[Violation]:
    """Every batch that has not as many jobs as it was made of."""
    found = Counter(job.batch_id for job in history.jobs.values())
    for batch_id, total in history.batches.items():
        if found[batch_id] != total:
            said = f"it was made of {total} jobs, and {found[batch_id]} are there"
            yield Violation(Rule.BATCH_WHOLE, batch_id, f"batch: {said}")


def check_families(history: History, sizes: Mapping[str, int]) -> Iterator[Violation]:
    """Every parent that has a child twice, or misses one.

    Args:
        history: what was read.
        sizes: the tasks whose jobs spawn children, and how many; a child's `number` tells which it is.
    """
    children = children_of(history)
    for job in history.jobs.values():
        # One that waits for its first attempt, or was cancelled before, has none yet.
        if job.status.is_terminal and job.task in sizes:
            numbers = sorted(child.args["number"] for child in children.get(job.id, ()))
            if numbers != list(range(sizes[job.task])):
                said = f"{job.task} has the children {numbers} of {sizes[job.task]}"
                yield Violation(Rule.EACH_CHILD_ONCE, job.id, said)


def check_ticks(history: History, every: Mapping[str, timedelta]) -> Iterator[Violation]:
    """Every tick that made two jobs, and every gap between the first and the last tick of a schedule.

    Args:
        history: what was read.
        every: how far the ticks of a task are apart; of a task that is not named gaps are not known.
    """
    for task, ticks in _ticks_by_task(history).items():
        for (earlier, _), (later, job_id) in pairwise(sorted(ticks)):
            if later == earlier:
                yield Violation(Rule.EACH_TICK_ONCE, job_id, f"{task} had a job for {later} before")
            elif task in every and later - earlier != every[task]:
                yield Violation(Rule.EACH_TICK_ONCE, job_id, f"{task} at {later} follows that at {earlier}")


def children_of(history: History) -> dict[UUID, list[JobRecord]]:
    """The children of each job that has some."""
    children: dict[UUID, list[JobRecord]] = {}
    for job in history.jobs.values():
        if job.parent_id is not None:
            children.setdefault(job.parent_id, []).append(job)
    return children


def count_related(history: History) -> dict[str, int]:
    """How many jobs there are in all, and of what kinds."""
    jobs = history.jobs.values()
    return {
        "jobs in all": len(jobs),
        "children": sum(job.parent_id is not None for job in jobs),
        "batches": len(history.batches),
        "ticks": sum(job.tick is not None for job in jobs),
    }


def _ticks_by_task(history: History) -> dict[str, list[tuple[datetime, UUID]]]:
    ticks: dict[str, list[tuple[datetime, UUID]]] = {}
    for job in history.jobs.values():
        if job.tick is not None:
            ticks.setdefault(job.task, []).append((job.tick, job.id))
    return ticks
