"""What the rows of a run prove: each job ended once, in order, and nobody wrote who had lost it.

Pure: records in, violations out. `holdfast.chaos.ledger` reads the records from a database. A violation is a
defect of the engine, whatever was killed when; no rule depends on the clock of a worker.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any
from uuid import UUID

from holdfast.states import AttemptOutcome, JobStatus

ENDING = {
    AttemptOutcome.COMPLETED: JobStatus.COMPLETED,
    AttemptOutcome.FAILED: JobStatus.FAILED,
    AttemptOutcome.CANCELLED: JobStatus.CANCELLED,
}
"""The outcomes that end the job, and what it then is. After any other it goes on, or is ended as it waits."""

ALLOWED = {
    (None, JobStatus.QUEUED),
    (JobStatus.QUEUED, JobStatus.PROCESSING),
    (JobStatus.QUEUED, JobStatus.CANCELLED),
    (JobStatus.QUEUED, JobStatus.FAILED),
    (JobStatus.PROCESSING, JobStatus.QUEUED),
    (JobStatus.PROCESSING, JobStatus.COMPLETED),
    (JobStatus.PROCESSING, JobStatus.FAILED),
    (JobStatus.PROCESSING, JobStatus.CANCELLED),
}
"""The steps a job's status may take; `None` is before the job was made."""


class Rule(StrEnum):
    """What was violated."""

    ENDS_ONCE = "a job ends, and once"
    ATTEMPTS_NUMBERED = "attempts are numbered from 1 without gaps"
    ONE_OPEN_ATTEMPT = "only a processing job has an open attempt, its last"
    OUTCOMES_FIT = "the outcomes of the attempts fit the job's status"
    COUNTERS_FIT = "failures and crashes count the attempts that ended so"
    TIMES_IN_ORDER = "times are in order"
    STATUS_IN_ORDER = "the status takes only the steps it may"
    NO_STALE_WRITE = "only the attempt that holds the job writes"
    ONE_EFFECT = "an effect happens once"
    EACH_CHILD_ONCE = "a parent has each of its children once"
    BATCH_WHOLE = "a batch is there as a whole"
    EACH_TICK_ONCE = "a tick makes one job"


@dataclass(frozen=True)
class Violation:
    """One rule that one job breaks."""

    rule: Rule
    job_id: UUID
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: job {self.job_id}: {self.message}"


@dataclass(frozen=True)
class AttemptRecord:
    """A row of `attempts`."""

    number: int
    started_at: datetime
    ended_at: datetime | None
    outcome: AttemptOutcome | None
    worker: str = ""
    process: int | None = None


@dataclass(frozen=True)
class JobRecord:
    """A row of `jobs` with its attempts, first to last.

    Attributes:
        tick: when it was planned for, if a schedule made it.
    """

    id: UUID
    status: JobStatus
    attempt: int
    failures: int
    crashes: int
    created_at: datetime
    completed_at: datetime | None
    attempts: Sequence[AttemptRecord]
    task: str = ""
    error_code: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    parent_id: UUID | None = None
    batch_id: UUID | None = None
    tick: datetime | None = None


@dataclass(frozen=True)
class Write:
    """One change of a job's row, in the order in which they were made.

    Attributes:
        before: the status that was changed, `None` for the insert.
        after: the status it was changed to.
        attempt: the job's attempt after the write.
        reported_by: the attempt that wrote the progress, if the write changed it and says so.
    """

    job_id: UUID
    before: JobStatus | None
    after: JobStatus
    attempt: int
    reported_by: int | None = None


@dataclass(frozen=True)
class Effect:
    """A row that a task has written.

    Attributes:
        name: which of the job's effects it is.
        attempt: the attempt that wrote it.
        held_by: the attempt that the job was in when it was written; `None` if it was not processing.
    """

    job_id: UUID
    name: str
    attempt: int
    held_by: int | None


@dataclass(frozen=True)
class History:
    """All that is known of a run. `writes` and `effects` may be empty where nobody recorded them.

    Attributes:
        batches: of how many jobs each batch says it is made.
    """

    jobs: Mapping[UUID, JobRecord]
    writes: Mapping[UUID, Sequence[Write]] = field(default_factory=dict)
    effects: Sequence[Effect] = ()
    batches: Mapping[UUID, int] = field(default_factory=dict)


def check(history: History, *, is_over: bool = True) -> list[Violation]:
    """Every violation in a history; none proves that the run kept its promises.

    Args:
        history: what was read.
        is_over: the run has come to rest, so that a job that has not ended is stuck.
    """
    violations = [found for job in history.jobs.values() for found in check_job(job, is_over=is_over)]
    for job_id, writes in history.writes.items():
        violations += check_writes(job_id, writes)
    return violations + list(_check_effects(history.effects))


def check_job(job: JobRecord, *, is_over: bool = True) -> Iterator[Violation]:
    """What one job and its attempts break."""
    if is_over and not job.status.is_terminal:
        yield Violation(Rule.ENDS_ONCE, job.id, f"it is still {job.status}")
    yield from _check_numbers(job)
    yield from _check_open(job)
    yield from _check_outcomes(job)
    yield from _check_counters(job)
    yield from _check_times(job)


def check_writes(job_id: UUID, writes: Sequence[Write]) -> Iterator[Violation]:
    """What the changes of one job's row break: they are a chain, each step one that is allowed."""
    status: JobStatus | None = None
    attempt = 0
    for write in writes:
        step = f"{write.before or 'nothing'} to {write.after} in attempt {write.attempt}"
        if write.before is not None and write.before.is_terminal:
            rule = Rule.ENDS_ONCE if write.before != write.after else Rule.NO_STALE_WRITE
            yield Violation(rule, job_id, f"written after it had ended: {step}")
        elif write.before != status:
            yield Violation(Rule.STATUS_IN_ORDER, job_id, f"{step}, but it was {status or 'nothing'}")
        elif write.before != write.after and (write.before, write.after) not in ALLOWED:
            yield Violation(Rule.STATUS_IN_ORDER, job_id, step)
        begins = write.before != write.after and write.after == JobStatus.PROCESSING
        if write.attempt != attempt + begins:
            yield Violation(Rule.ATTEMPTS_NUMBERED, job_id, f"{step} follows attempt {attempt}")
        if write.reported_by is not None and write.reported_by != write.attempt:
            said = f"attempt {write.reported_by} wrote progress in attempt {write.attempt}"
            yield Violation(Rule.NO_STALE_WRITE, job_id, said)
        status, attempt = write.after, write.attempt


def _check_numbers(job: JobRecord) -> Iterator[Violation]:
    numbers = [attempt.number for attempt in job.attempts]
    if numbers != list(range(1, job.attempt + 1)):
        yield Violation(Rule.ATTEMPTS_NUMBERED, job.id, f"{numbers}, and the job counts {job.attempt}")


def _check_open(job: JobRecord) -> Iterator[Violation]:
    still_open = [attempt.number for attempt in job.attempts if attempt.outcome is None]
    expected = [job.attempt] if job.status == JobStatus.PROCESSING else []
    if still_open != expected:
        yield Violation(Rule.ONE_OPEN_ATTEMPT, job.id, f"{still_open} are open, and the job is {job.status}")
    for attempt in job.attempts:
        if (attempt.outcome is None) != (attempt.ended_at is None):
            yield Violation(Rule.ONE_OPEN_ATTEMPT, job.id, f"attempt {attempt.number} has half an end")


def _check_outcomes(job: JobRecord) -> Iterator[Violation]:
    for attempt in job.attempts[:-1]:
        if attempt.outcome in ENDING:
            yield Violation(
                Rule.OUTCOMES_FIT, job.id, f"attempt {attempt.number} {attempt.outcome}, and more followed"
            )
    last = job.attempts[-1].outcome if job.attempts else None
    ends_as = ENDING.get(last) if last else None
    if ends_as != job.status and (ends_as or job.status == JobStatus.COMPLETED):
        yield Violation(Rule.OUTCOMES_FIT, job.id, f"its last attempt is {last}, and it is {job.status}")


def _check_counters(job: JobRecord) -> Iterator[Violation]:
    outcomes = Counter(attempt.outcome for attempt in job.attempts)
    failures = outcomes[AttemptOutcome.FAILED] + outcomes[AttemptOutcome.RETRIED]
    if (job.failures, job.crashes) != (failures, outcomes[AttemptOutcome.LOST]):
        counted = f"{job.failures} failures and {job.crashes} crashes"
        found = f"{failures} and {outcomes[AttemptOutcome.LOST]}"
        yield Violation(Rule.COUNTERS_FIT, job.id, f"it counts {counted}; its attempts tell of {found}")


def _check_times(job: JobRecord) -> Iterator[Violation]:
    named = list(_times(job))
    for (name, earlier), (next_name, later) in pairwise(named):
        if later < earlier:
            said = f"{next_name} at {later:%H:%M:%S.%f}, before {name} at {earlier:%H:%M:%S.%f}"
            yield Violation(Rule.TIMES_IN_ORDER, job.id, said)


def _times(job: JobRecord) -> Iterator[tuple[str, datetime]]:
    yield "made", job.created_at
    for attempt in job.attempts:
        yield f"attempt {attempt.number} began", attempt.started_at
        if attempt.ended_at is not None:
            yield f"attempt {attempt.number} ended", attempt.ended_at
    if job.completed_at is not None:
        yield "the job ended", job.completed_at


def _check_effects(effects: Iterable[Effect]) -> Iterator[Violation]:
    by_name: dict[tuple[UUID, str], list[Effect]] = {}
    for effect in effects:
        by_name.setdefault((effect.job_id, effect.name), []).append(effect)
        if effect.held_by != effect.attempt:
            holder = "nobody" if effect.held_by is None else f"attempt {effect.held_by}"
            said = f"attempt {effect.attempt} wrote {effect.name!r} while {holder} held the job"
            yield Violation(Rule.NO_STALE_WRITE, effect.job_id, said)
    for (job_id, name), same in by_name.items():
        if len(same) > 1:
            attempts = [effect.attempt for effect in same]
            yield Violation(Rule.ONE_EFFECT, job_id, f"{name!r} was written by attempts {attempts}")
