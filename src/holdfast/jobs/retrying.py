"""Retrying dead jobs: a new job that does what one asked for that has failed or was cancelled.

The dead job is left as it is, with its attempts and errors. The new one may continue with its steps: both
then name the same origin, with which the steps are saved, and which makes the keys that providers are given.
Two jobs must not continue one origin at the same time, as two attempts must not run one job.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import select, update
from sqlalchemy.orm import Session, aliased

from holdfast.errors import IdempotencyConflict, NotRetryable
from holdfast.jobs import idempotency
from holdfast.jobs.accepted import JobAccepted
from holdfast.jobs.models import Job
from holdfast.jobs.options import JobOptions
from holdfast.jobs.store import NewJob
from holdfast.jobs.task import Task
from holdfast.states import JobStatus, Steps

_DEAD = (JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True)
class RetryRequest:
    """Which job to retry, and how."""

    job_id: UUID
    steps: Steps = Steps.KEEP
    idempotency_key: str | None = None

    @property
    def request(self) -> JsonValue:
        """What the idempotency key stands for."""
        return {"retry_of": str(self.job_id), "steps": self.steps}


def made_before(session: Session, dead: Job, asked: RetryRequest) -> JobAccepted | None:
    """The job that this request has made already, by its key.

    Raises:
        IdempotencyConflict: the key stands for another request.
    """
    if asked.idempotency_key is None:
        return None
    known = idempotency.find_request(session, dead.owner_id, dead.task, asked.idempotency_key)
    if known is None or not known.is_kept:
        return None
    if known.request_hash != idempotency.hash_request(asked.request):
        raise IdempotencyConflict
    return JobAccepted(job_id=known.job_id, status=known.status, created=False)


def retry(
    session: Session,
    task: Task[..., Any],
    dead: Job,
    asked: RetryRequest,
    *,
    renew: Callable[[Session, Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> JobAccepted:
    """Make a job that does again what a dead one asked for, in the caller's transaction.

    It belongs to the same owner, has the same arguments, priority, metadata, whom to notify and limits in
    time, counted from now, and what else its task gives to jobs by now. It belongs to no batch and no parent.

    Args:
        session: the caller's session.
        task: the dead job's.
        dead: the job to retry.
        asked: how to retry it.
        renew: makes the new job's arguments out of the dead one's; called when a job is about to be made.

    Raises:
        NotRetryable: the job has not ended, has completed, or was deleted; or another job continues its steps
            just now.
        InvalidArguments: the arguments do not fit the task any more.
        IdempotencyConflict: the key stands for another request.
    """
    check_dead(dead)
    origin_id = _lock_origin(session, dead)
    if known := made_before(session, dead, asked):
        return known
    if asked.steps == Steps.KEEP:
        _check_alone(session, origin_id)
    args = dead.args if renew is None else renew(session, dead.args)
    accepted = task.submit(session, _new_job(task, args, dead, asked))
    if accepted.created:
        links = {"retry_of": dead.id, "origin_id": origin_id if asked.steps == Steps.KEEP else None}
        session.execute(update(Job).where(Job.id == accepted.job_id).values(links))
    return accepted


def check_dead(job: Job) -> None:
    """Check that a job stands so that it can be retried; raises `NotRetryable`."""
    if job.status not in _DEAD:
        raise NotRetryable(f"The job is {job.status}; only failed and cancelled jobs can be retried.")


def _new_job(task: Task[..., Any], args: Mapping[str, Any], dead: Job, asked: RetryRequest) -> NewJob:
    options = JobOptions(
        owner=dead.owner_id,
        priority=dead.priority,
        metadata=dead.metadata_,
        idempotency_key=asked.idempotency_key,
    )
    return replace(
        task.new_job(args, options, request=asked.request),
        timeout=dead.timeout,
        deadline=None if dead.deadline is None else dead.deadline - dead.created_at,
        start_by=None if dead.start_by is None else dead.start_by - dead.created_at,
        notify=dead.notify,
    )


def _lock_origin(session: Session, dead: Job) -> UUID:
    """Keep others from continuing the same steps until the transaction ends; returns whose they are.

    Both jobs are kept from being deleted as well.
    """
    origin_id = dead.origin_id or dead.id
    both = select(Job.id).where(Job.id.in_({origin_id, dead.id})).order_by(Job.id)
    locked = session.scalars(both.with_for_update(key_share=True)).all()
    if dead.id not in locked:
        raise NotRetryable("The job was deleted.")
    # The steps of an origin that was deleted are gone with it.
    return origin_id if origin_id in locked else dead.id


def _check_alone(session: Session, origin_id: UUID) -> None:
    first = select(Job.id, Job.status, Job.origin_id).where(Job.id == origin_id).cte("line", recursive=True)
    later = aliased(Job)
    line = first.union_all(
        select(later.id, later.status, later.origin_id).where(later.retry_of == first.c.id)
    )
    continues = line.c.origin_id == origin_id
    living = select(line.c.id).where(continues, line.c.status.not_in([*_DEAD, JobStatus.COMPLETED]))
    job_id = session.execute(living.limit(1)).scalar_one_or_none()
    if job_id is not None:
        raise NotRetryable(
            f"Job {job_id} continues the same steps just now. Wait for its end, or drop the steps."
        )
