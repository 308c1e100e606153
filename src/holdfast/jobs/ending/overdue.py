"""Attempts that had to leave, were given their grace, and still hold their jobs."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session

from holdfast.jobs.ending.endings import GRACE_SECONDS, Ending
from holdfast.jobs.models import Job
from holdfast.jobs.store import Claim
from holdfast.states import JobStatus

_GRACE = timedelta(seconds=GRACE_SECONDS)


@dataclass(frozen=True)
class OverdueAttempt:
    """Such an attempt, why it had to leave, and the process of its worker that has it."""

    claim: Claim
    ending: Ending
    process: int


def overdue_attempts(session: Session, *, worker: str) -> list[OverdueAttempt]:
    """Those of this worker.

    An attempt that was cancelled is given the grace twice: to leave by itself, and by the exception that is
    then raised in it.
    """
    is_over = Job.times_out_at < func.now() - _GRACE
    is_cancelled = Job.cancel_requested_at < func.now() - 2 * _GRACE
    ending = case(
        (is_cancelled, Ending.CANCELLED.value),
        (Job.times_out_at == Job.deadline, Ending.DEADLINE.value),
        else_=Ending.TIMEOUT.value,
    )
    query = select(Job, ending, Job.deadline - func.now()).where(
        Job.worker == worker, Job.status == JobStatus.PROCESSING, or_(is_over, is_cancelled)
    )
    return [_overdue(job, Ending(why), left) for job, why, left in session.execute(query)]


def _overdue(job: Job, ending: Ending, deadline_left: timedelta | None) -> OverdueAttempt:
    claim = Claim(
        job.id,
        job.attempt,
        job.task,
        {},
        job.failures,
        job.max_attempts,
        time_left=job.timeout,
        deadline_left=deadline_left,
    )
    assert job.process is not None  # noqa: S101 - a CHECK of the table, for jobs that run
    return OverdueAttempt(claim, ending, job.process)
