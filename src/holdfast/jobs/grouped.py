"""Claims and completions of many jobs in one statement: what `holdfast.jobs.store` does one by one.

Each job is claimed and fenced by itself, and a stale one among them is left out without harm to the others.
Rows are locked in the order of their ids, so that no two groups meet crosswise.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import Integer, Table, Text, Update, Uuid, bindparam, column, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session

from holdfast.jobs import statements
from holdfast.jobs.delivery.sending import once
from holdfast.jobs.delivery.waiting import IS_UNSENT, Shelf
from holdfast.jobs.models import Attempt, Job
from holdfast.jobs.storable import storable_json
from holdfast.jobs.store import Claim
from holdfast.states import AttemptOutcome, JobStatus

_jobs = cast("Table", Job.__table__)
_attempts = cast("Table", Attempt.__table__)


@dataclass(frozen=True)
class Holder:
    """Who claims: a process of a worker, for so long until its next heartbeat."""

    worker: str
    process: int
    lease: timedelta

    @property
    def values(self) -> dict[str, Any]:
        """As the statements that claim call it."""
        return {"by": self.worker, "pid": self.process, "lease": self.lease}


@dataclass(frozen=True)
class Completion:
    """The end of an attempt: its result (JSON), and its last progress."""

    claim: Claim
    result: JsonValue
    progress: dict[str, Any] | None


def claim(session: Session, job_ids: Collection[UUID], holder: Holder) -> dict[UUID, Claim]:
    """Claim those of these jobs that can be claimed, as `store.claim` does; by their ids."""
    rows = session.connection().execute(_CLAIM, {"jobs": list(job_ids), **holder.values})
    return {row.id: Claim(*row) for row in rows}


def claim_due(
    session: Session, shelf: Shelf, tasks: Collection[str], holder: Holder, *, limit: int
) -> list[Claim]:
    """Claim due jobs of these tasks that stand on the shelf and that the broker was not told of.

    Those that were due first come first. What somebody else has locked is passed by.
    """
    given = {"queue": shelf.queue, "priority": shelf.priority, "tasks": list(tasks), "most": limit}
    return [Claim(*row) for row in session.connection().execute(_CLAIM_DUE, {**given, **holder.values})]


def complete(session: Session, completions: Sequence[Completion]) -> list[bool]:
    """End jobs with their results, as `store.complete` does; `False` for each attempt that is stale."""
    given = {
        "ids": [each.claim.id for each in completions],
        "numbers": [each.claim.attempt for each in completions],
        "results": [_json(each.result) for each in completions],
        "progresses": [_json(each.progress) for each in completions],
    }
    left = {(row.job_id, row.attempt) for row in session.connection().execute(_COMPLETE, given)}
    return [(each.claim.id, each.claim.attempt) in left for each in completions]


def _json(value: JsonValue) -> str | None:
    return None if value is None else storable_json(value)


def _complete() -> Update:
    arrays = func.unnest(
        bindparam("ids", type_=ARRAY(Uuid)),
        bindparam("numbers", type_=ARRAY(Integer)),
        bindparam("results", type_=ARRAY(Text)),
        bindparam("progresses", type_=ARRAY(Text)),
    )
    given = arrays.table_valued(
        column("id", Uuid),
        column("number", Integer),
        column("result", Text),
        column("progress", Text),
        name="given",
    ).render_derived()
    is_held = (
        (_jobs.c.id == given.c.id)
        & (_jobs.c.attempt == given.c.number)
        & (_jobs.c.status == JobStatus.PROCESSING.value)
    )
    held = (
        select(_jobs.c.id, given.c.number, given.c.result, given.c.progress)
        .join(given, is_held)
        .order_by(_jobs.c.id)
        .with_for_update(of=_jobs, key_share=True)
        .cte("held")
    )
    left = (
        update(_jobs)
        .where(
            _jobs.c.id == held.c.id,
            _jobs.c.attempt == held.c.number,
            _jobs.c.status == JobStatus.PROCESSING.value,
        )
        .values(
            status=JobStatus.COMPLETED.value,
            result=held.c.result.cast(JSONB),
            error=None,
            progress=func.coalesce(held.c.progress.cast(JSONB), _jobs.c.progress),
            completed_at=func.now(),
            **statements.UNLEASED,
        )
        .returning(_jobs.c.id, _jobs.c.attempt)
        .cte("left_job")
    )
    closed = statements.close_attempts(left, AttemptOutcome.COMPLETED, None)
    return closed.returning(_attempts.c.job_id, _attempts.c.attempt)


_NAMED = (
    select(_jobs.c.id)
    .where(_jobs.c.id == func.any(bindparam("jobs", type_=ARRAY(Uuid))))
    .order_by(_jobs.c.id)
    .with_for_update(key_share=True)
)
_DUE = (
    select(_jobs.c.id)
    .where(
        IS_UNSENT,
        _jobs.c.queue == bindparam("queue", type_=Text),
        _jobs.c.priority == bindparam("priority", type_=Integer),
        _jobs.c.task == func.any(bindparam("tasks", type_=ARRAY(Text))),
        _jobs.c.run_at <= func.now(),
    )
    .order_by(_jobs.c.run_at)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(key_share=True, skip_locked=True)
)
_CLAIM = statements.claiming(_jobs.c.id.in_(once(_NAMED)))
_CLAIM_DUE = statements.claiming(_jobs.c.id.in_(once(_DUE)))
_COMPLETE = _complete()
