"""Many jobs written, claimed or completed in one statement: what `holdfast.jobs.store` does one by one.

Each job is claimed and fenced by itself, and a stale one among them is left out without harm to the others.
Rows are locked in the order of their ids, so that no two groups meet crosswise.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from psycopg import AsyncConnection
from psycopg import Connection as DriverConnection
from pydantic import JsonValue
from sqlalchemy import (
    CTE,
    JSON,
    Boolean,
    ColumnElement,
    DateTime,
    Double,
    Integer,
    Interval,
    Table,
    Text,
    Update,
    Uuid,
    bindparam,
    case,
    column,
    func,
    literal_column,
    select,
    type_coerce,
    update,
)
from sqlalchemy import (
    cast as sql_cast,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.types import TypeEngine

from holdfast.jobs import statements
from holdfast.jobs.delivery.sending import once
from holdfast.jobs.delivery.waiting import Shelf
from holdfast.jobs.models import Attempt, Job, PausedQueue
from holdfast.jobs.statements import DriverStatement
from holdfast.jobs.storable import optional_json, storable_json
from holdfast.jobs.store import Claim, NewJob
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


async def enqueue(connection: AsyncConnection, jobs: Sequence[NewJob]) -> set[UUID]:
    """Insert queued jobs, as `store.enqueue` does; the ids of those that were written.

    The others have an idempotency key that another job has, be it one of these.
    """
    written = await _ENQUEUE.on_loop(connection, {"rows": storable_json([_row(job) for job in jobs])})
    return {job_id for (job_id,) in await written.fetchall()}


def claim(on: Session | DriverConnection, job_ids: Collection[UUID], holder: Holder) -> dict[UUID, Claim]:
    """Claim those of these jobs that can be claimed, as `store.claim` does; by their ids."""
    claims = [Claim(*row) for row in _CLAIM(on, {"jobs": list(job_ids), **holder.values})]
    return {claim.id: claim for claim in claims}


def claim_due(
    on: Session | DriverConnection,
    shelf: Shelf,
    tasks: Collection[str],
    holder: Holder,
    *,
    limit: int,
    depth: int | None = None,
) -> list[Claim]:
    """Claim due jobs of these tasks that stand on the shelf and that the broker was not told of.

    Those that were due first come first. What somebody else has locked is passed by. Where jobs of other
    tasks stand among them, no more than about the first `depth` are looked at.
    """
    given = {"on_queue": shelf.queue, "on_priority": shelf.priority, "tasks": list(tasks), "most": limit}
    statement = _CLAIM_DUE if depth is None else _CLAIM_AMONG
    rows = statement(on, {**given, "depth": depth, **holder.values})
    return [Claim(*row) for row in rows]


def complete(on: Session | DriverConnection, completions: Sequence[Completion]) -> list[bool]:
    """End jobs with their results, as `store.complete` does; `False` for each attempt that is stale."""
    given = {
        "ids": [each.claim.id for each in completions],
        "numbers": [each.claim.attempt for each in completions],
        "results": [optional_json(each.result) for each in completions],
        "progresses": [optional_json(each.progress) for each in completions],
    }
    left = {tuple(row) for row in _COMPLETE(on, given)}
    return [(each.claim.id, each.claim.attempt) in left for each in completions]


def _row(job: NewJob) -> dict[str, JsonValue]:
    return {
        **{name: str(value) if isinstance(value, UUID) else value for name, value in job.columns.items()},
        "idempotency_key": job.idempotency_key,
        "hash": None if job.request_hash is None else job.request_hash.hex(),
        "at": None if job.run_at is None else job.run_at.isoformat(),
        "after": _seconds(job.delay),
        "is_handed_over": job.is_handed_over,
        "timeout": _seconds(job.timeout),
        "ends_after": _seconds(job.deadline),
        "starts_within": _seconds(job.start_by),
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _enqueue() -> ReturningInsert[Any]:
    types: dict[str, TypeEngine[Any]] = {name: _jobs.c[name].type for name in _GIVEN}
    types |= dict.fromkeys(("after", "timeout", "ends_after", "starts_within"), Double())
    types |= {"at": DateTime(timezone=True), "is_handed_over": Boolean(), "hash": Text()}
    rows = func.json_to_recordset(sql_cast(bindparam("rows", type_=Text), JSON)).table_valued(
        *(column(name, type_) for name, type_ in types.items())
    )
    given = rows.render_derived(name="given", with_types=True).c
    is_paused = given.queue.in_(select(PausedQueue.name))
    values = {
        **{name: given[name] for name in _GIVEN},
        "timeout": _interval(given.timeout),
        "request_hash": func.decode(given.hash, "hex"),
        "run_at": func.coalesce(given.at, func.now() + _interval(given.after), func.now()),
        "sent_at": case((given.is_handed_over & ~is_paused, func.now())),
        "deadline": func.now() + _interval(given.ends_after),
        "start_by": func.now() + _interval(given.starts_within),
    }
    return statements.unless_keyed(insert(_jobs).from_select(list(values), select(*values.values())))


def _interval(seconds: ColumnElement[float]) -> ColumnElement[timedelta]:
    return type_coerce(seconds * literal_column("interval '1 second'"), Interval)


def _held() -> CTE:
    """The given completions whose attempts hold their jobs, which are locked."""
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
    return (
        select(_jobs.c.id, given.c.number, given.c.result, given.c.progress)
        .join(given, is_held)
        .order_by(_jobs.c.id)
        .with_for_update(of=_jobs, key_share=True)
        .cte("held")
    )


def _complete() -> Update:
    held = _held()
    left = (
        update(_jobs)
        .where(
            _jobs.c.id == held.c.id,
            _jobs.c.attempt == held.c.number,
            _jobs.c.status == JobStatus.PROCESSING.value,
        )
        .values(**statements.completing(held.c.result.cast(JSONB), held.c.progress.cast(JSONB)))
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
_ON_SHELF = (
    # A literal, as in `delivery.waiting`: the planner must see that the partial index has it.
    _jobs.c.status == literal_column(f"'{JobStatus.QUEUED.value}'", Text),
    _jobs.c.sent_at.is_(None),
    _jobs.c.awaited_ids.is_(None),
    _jobs.c.queue == bindparam("on_queue", type_=Text),
    _jobs.c.priority == bindparam("on_priority", type_=Integer),
    _jobs.c.run_at <= func.now(),
)
_DUE = (
    select(_jobs.c.id)
    .where(*_ON_SHELF, _jobs.c.task == func.any(bindparam("tasks", type_=ARRAY(Text))))
    .order_by(_jobs.c.run_at)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(key_share=True, skip_locked=True)
)
_DEEPEST = (
    select(_jobs.c.run_at)
    .where(*_ON_SHELF)
    .order_by(_jobs.c.run_at)
    .offset(bindparam("depth", type_=Integer))
    .limit(literal_column("1"))
    .scalar_subquery()
)
# Columns of a new job that are what its `NewJob` says.
_GIVEN = (
    *("id", "task", "args", "queue", "priority", "max_attempts", "max_crashes"),
    *("owner_id", "parent_id", "metadata", "notify", "idempotency_key"),
)
_ENQUEUE = DriverStatement(_enqueue())
_CLAIM = DriverStatement(statements.claiming(_jobs.c.id.in_(once(_NAMED))))
_CLAIM_DUE = DriverStatement(statements.claiming(_jobs.c.id.in_(once(_DUE))))
_NEAR = _DUE.where(_jobs.c.run_at <= func.coalesce(_DEEPEST, func.now()))
_CLAIM_AMONG = DriverStatement(statements.claiming(_jobs.c.id.in_(once(_NEAR))))
_COMPLETE = DriverStatement(_complete())
