"""How long a job that a worker held when it was killed waited for its next attempt to begin."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from holdfast.chaos.fleet import Blow
from holdfast.chaos.history import AttemptRecord, JobRecord
from holdfast.chaos.storm import Outage
from holdfast.states import AttemptOutcome


@dataclass(frozen=True)
class Recovery:
    """One job taken over.

    Attributes:
        seconds: from the blow to the beginning of the next attempt.
        noticed_seconds: from the blow until the job was taken back.
        blow: what its worker was dealt.
        is_undisturbed: no engine was away, and no link cut, in between.
    """

    job_id: UUID
    seconds: float
    noticed_seconds: float
    blow: Blow
    is_undisturbed: bool


def recoveries(
    jobs: Mapping[UUID, JobRecord], blows: Sequence[Blow], outages: Sequence[Outage]
) -> Iterator[Recovery]:
    """Each attempt that a blow ended and another followed; the others have nothing to wait for."""
    for job in jobs.values():
        for attempt, following in zip(job.attempts, job.attempts[1:], strict=False):
            blow = _cause(attempt, blows)
            if blow is not None and attempt.ended_at is not None:
                waited = (following.started_at - blow.at).total_seconds()
                noticed = (attempt.ended_at - blow.at).total_seconds()
                overlap = any(_overlaps(outage, blow.at, following.started_at) for outage in outages)
                yield Recovery(job.id, waited, noticed, blow, not overlap)


def quantile(values: Iterable[float], share: float) -> float | None:
    """The smallest of the values that at least this share of them do not exceed; `None` if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _cause(attempt: AttemptRecord, blows: Sequence[Blow]) -> Blow | None:
    """The first blow that its worker, or the child it ran in, was dealt while it ran."""
    if attempt.outcome != AttemptOutcome.LOST or attempt.ended_at is None:
        return None
    held = [blow for blow in blows if attempt.started_at <= blow.at <= attempt.ended_at]
    return next((blow for blow in held if _hits(blow, attempt)), None)


def _hits(blow: Blow, attempt: AttemptRecord) -> bool:
    # A worker's name has its pid between host and token.
    if f":{blow.worker}:" not in attempt.worker:
        return False
    return blow.child is None or attempt.process in (None, blow.child)


def _overlaps(outage: Outage, begin: datetime, end: datetime) -> bool:
    return outage.began <= end and (outage.ended is None or outage.ended >= begin)
