"""What a run came to: counts, and whether anything that must not happen has happened."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from holdfast.chaos.history import History, Rule, Violation, check
from holdfast.chaos.mix import FAMILIES, MIX, TICKS, UNSUBMITTED, expected_status
from holdfast.chaos.provider import PaidCall
from holdfast.chaos.recovery import Recovery, quantile
from holdfast.chaos.related import check_batches, check_families, check_ticks, children_of, count_related
from holdfast.states import JobStatus

ORDER = {
    Rule.ATTEMPTS_NUMBERED,
    Rule.ONE_OPEN_ATTEMPT,
    Rule.OUTCOMES_FIT,
    Rule.COUNTERS_FIT,
    Rule.TIMES_IN_ORDER,
    Rule.STATUS_IN_ORDER,
}


@dataclass(frozen=True)
class Submissions:
    """What the submitter says of its jobs.

    Attributes:
        expected: of each job whose transaction committed, how it should end, if that is known.
        acknowledged: the jobs whose commit returned.
        rolled_back: those that must not exist.
    """

    expected: Mapping[UUID, str | None]
    acknowledged: set[UUID]
    rolled_back: set[UUID]


@dataclass(frozen=True)
class Bought:
    """Paid calls, compared with the steps that were saved.

    Attributes:
        calls: how many in all.
        after_saving: by an attempt after the one that saved the step: a defect.
        under_another_key: repeated with another idempotency key, so that it was paid twice: a defect.
        unsaved: repeated under the same key, as the step was not saved yet when its process died.
    """

    calls: int = 0
    after_saving: int = 0
    under_another_key: int = 0
    unsaved: int = 0


@dataclass
class Report:
    """The figures of a run. What is in `defects` must be zero."""

    jobs: int
    statuses: Mapping[str, int]
    defects: dict[str, int]
    bought: Bought
    injected: Mapping[str, int]
    kills: int
    recovery: dict[str, Any]
    violations: Sequence[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing happened that must not."""
        return not any(self.defects.values())

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        bought = vars(self.bought)
        return {"clean": self.is_clean, **vars(self), "bought": bought, "injected": dict(self.injected)}


def make_report(
    history: History,
    submissions: Submissions,
    bought: Bought,
    taken: Sequence[Recovery],
    *,
    injected: Mapping[str, int],
    kills: int,
    is_own: bool,
) -> Report:
    """Compare what is there with what should be.

    Args:
        history: what was read.
        submissions: what was submitted.
        bought: the paid calls.
        taken: the jobs that were taken over.
        injected: how often each fault was.
        kills: how many processes were killed.
        is_own: whether chaos's own workload ran, of which is known what each job leaves and spawns.
    """
    violations = [*check(history), *_check_related(history, is_own=is_own)]
    rules = Counter(violation.rule for violation in violations)
    statuses = Counter(job.status.value for job in history.jobs.values())
    submitted = set(submissions.expected) | submissions.acknowledged
    lost = submitted - set(history.jobs)
    defects = {
        "lost": len(lost),
        "never submitted": len(_uncalled(history, submissions)),
        "stuck": sum(not job.status.is_terminal for job in history.jobs.values()),
        "ended otherwise than they should": len(_ended_otherwise(history, submissions, is_own=is_own)),
        "children lost or doubled": rules[Rule.EACH_CHILD_ONCE],
        "batches torn": rules[Rule.BATCH_WHOLE],
        "ticks lost or doubled": rules[Rule.EACH_TICK_ONCE],
        "effects doubled": rules[Rule.ONE_EFFECT],
        "effects missing": _missing_effects(history) if is_own else 0,
        "writes by a stale attempt": rules[Rule.NO_STALE_WRITE],
        "changed after the end": _changed_after_end(violations, history),
        "wrong order of statuses": sum(rules[rule] for rule in ORDER),
        "saved steps repeated": bought.after_saving,
        "paid twice": bought.under_another_key,
    }
    return Report(
        jobs=len(submitted),
        statuses=statuses,
        defects=defects,
        bought=bought,
        injected=injected,
        kills=kills,
        recovery=_recovery(taken),
        violations=[*map(str, violations), *(f"lost: {job_id}" for job_id in lost)],
        facts=dict(count_related(history)),
    )


def compare_calls(calls: Iterable[PaidCall], saved_by: Mapping[tuple[str, str], int]) -> Bought:
    """Compare calls with the attempt that saved each (job, step)."""
    by_step: dict[tuple[str, str], list[PaidCall]] = {}
    for call in calls:
        by_step.setdefault((call.job_id, call.step), []).append(call)
    after = other = unsaved = 0
    for step, same in by_step.items():
        late = [call for call in same if call.attempt > saved_by.get(step, call.attempt)]
        keys = {call.key for call in same}
        after += len(late)
        other += len(keys) - 1
        unsaved += len(same) - 1 - len(late) - (len(keys) - 1)
    return Bought(sum(map(len, by_step.values())), after, other, max(0, unsaved))


def _check_related(history: History, *, is_own: bool) -> Iterator[Violation]:
    yield from check_batches(history)
    yield from check_ticks(history, TICKS if is_own else {})
    yield from check_families(history, FAMILIES if is_own else {})


def _uncalled(history: History, submissions: Submissions) -> set[UUID]:
    """Jobs that nobody submitted, no tick made and no other job spawned, or whose submit was rolled back."""
    called = set(submissions.expected) | {job.id for job in history.jobs.values() if job.tick is not None}
    children, unasked = children_of(history), list(called)
    while unasked:
        spawned = [child.id for child in children.get(unasked.pop(), ())]
        called.update(spawned)
        unasked += spawned
    return (set(history.jobs) - called) | (submissions.rolled_back & set(history.jobs))


def _ended_otherwise(history: History, submissions: Submissions, *, is_own: bool) -> list[UUID]:
    expected = dict(submissions.expected)
    if is_own:
        unsubmitted = (job for job in history.jobs.values() if job.task in UNSUBMITTED)
        expected |= {job.id: expected_status(job.task).value for job in unsubmitted}
    return [
        job.id
        for job in history.jobs.values()
        if job.status.is_terminal and expected.get(job.id) not in (None, job.status.value)
    ]


def _missing_effects(history: History) -> int:
    """Jobs of the workload that ended as completed without their effect."""
    leaving = UNSUBMITTED.union(MIX)
    done = {job.id for job in history.jobs.values() if job.status == JobStatus.COMPLETED}
    left = {effect.job_id for effect in history.effects}
    return sum(history.jobs[job_id].task in leaving for job_id in done - left)


def _changed_after_end(violations: Iterable[Violation], history: History) -> int:
    return sum(
        violation.rule == Rule.ENDS_ONCE and history.jobs[violation.job_id].status.is_terminal
        for violation in violations
        if violation.job_id in history.jobs
    )


def _recovery(taken: Sequence[Recovery]) -> dict[str, Any]:
    killed = [each for each in taken if each.blow.is_kill]
    undisturbed = [each for each in killed if each.is_undisturbed]
    kinds = {
        "killed": [each.seconds for each in killed],
        "killed, nothing else away": [each.seconds for each in undisturbed],
        "killed, nothing else away, until noticed": [each.noticed_seconds for each in undisturbed],
        "stopped": [each.seconds for each in taken if not each.blow.is_kill],
    }
    return {name: _spread(seconds) for name, seconds in kinds.items()}


def _spread(seconds: Sequence[float]) -> dict[str, float | int | None]:
    shown = {"p50": quantile(seconds, 0.5), "p99": quantile(seconds, 0.99), "max": quantile(seconds, 1)}
    rounded = {name: None if value is None else round(value, 2) for name, value in shown.items()}
    return {"jobs": len(seconds), **rounded}
