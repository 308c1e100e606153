"""The SQL of steps: each write is one statement, made by the attempts that hold their jobs, or not at all.

The fence is the attempt's own row: whoever takes a job from its attempt closes that row in the same
statement. It is locked instead of the job, because the renewal of leases passes locked jobs by, and one that
writes steps all the time would lose its lease.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    Double,
    Integer,
    LargeBinary,
    Select,
    Table,
    Text,
    Uuid,
    bindparam,
    column,
    func,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from holdfast.jobs.models import Attempt, Step

_attempts = cast("Table", Attempt.__table__)
_steps = cast("Table", Step.__table__)


@dataclass(frozen=True)
class Place:
    """Where a step stands among those of its job: its name, and its key or number."""

    name: str
    key: str


@dataclass(frozen=True)
class SavedStep:
    """What was saved at a place: the result is JSON text."""

    fingerprint: bytes
    result: str


@dataclass(frozen=True)
class NewStep:
    """A step to save.

    Attributes:
        job_id: the job whose attempt `attempt` ran it.
        origin_id: the job it is saved with, and found by those that continue it.
        seconds: how long its function took.
        ended_at: when that ended, on this process's monotonic clock.
    """

    job_id: UUID
    attempt: int
    origin_id: UUID
    place: Place
    fingerprint: bytes
    result: str
    seconds: float
    ended_at: float


class Verdict(Enum):
    """What became of a step that was to be saved."""

    SAVED = auto()
    STALE = auto()  # the job has moved on from the attempt
    TAKEN = auto()  # another step stands in its place


_COLUMNS: dict[str, TypeEngine[Any]] = {
    "origin": Uuid(),
    "job": Uuid(),
    "number": Integer(),
    "name": Text(),
    "key": Text(),
    "fingerprint": LargeBinary(),
    "result": Text(),
    "seconds": Double(),
    "age": Double(),
}


def _save() -> Select[bool, bool]:
    arrays = func.unnest(*(bindparam(f"all_{name}", type_=ARRAY(kind)) for name, kind in _COLUMNS.items()))
    table = arrays.table_valued(
        *(column(name, kind) for name, kind in _COLUMNS.items()), with_ordinality="position", name="given"
    ).render_derived()
    given = select(table).cte("given")
    held = (
        select(_attempts.c.job_id, _attempts.c.attempt)
        .where(
            tuple_(_attempts.c.job_id, _attempts.c.attempt).in_(select(given.c.job, given.c.number)),
            _attempts.c.ended_at.is_(None),
        )
        .order_by(_attempts.c.job_id)
        .with_for_update(read=True)
        .cte("held")
    )
    is_held = (held.c.job_id == given.c.job) & (held.c.attempt == given.c.number)
    ended_at = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, given.c.age)
    rows = select(
        given.c.origin,
        given.c.name,
        given.c.key,
        given.c.fingerprint,
        func.nullif(given.c.result.cast(JSONB), text("'null'::jsonb")),
        given.c.number,
        ended_at - func.make_interval(0, 0, 0, 0, 0, 0, given.c.seconds),
        ended_at,
    ).join(held, is_held)
    columns = ["job_id", "name", "key", "fingerprint", "result", "attempt", "started_at", "ended_at"]
    saved = (
        insert(_steps)
        .from_select(columns, rows)
        .on_conflict_do_nothing()
        .returning(_steps.c.job_id, _steps.c.name, _steps.c.key)
        .cte("saved")
    )
    is_saved = (
        (saved.c.job_id == given.c.origin) & (saved.c.name == given.c.name) & (saved.c.key == given.c.key)
    )
    return (
        select(held.c.job_id.is_not(None), saved.c.job_id.is_not(None))
        .select_from(given.outerjoin(held, is_held).outerjoin(saved, is_saved))
        .order_by(given.c.position)
    )


_SAVE = _save()


def save(session: Session, steps: Sequence[NewStep]) -> list[Verdict]:
    """Save steps of any jobs in one statement; what became of each, in their order.

    What is `SAVED` was saved by an attempt that holds its job, and keeps it until the transaction ends.
    """
    now = time.monotonic()
    given = {
        "all_origin": [step.origin_id for step in steps],
        "all_job": [step.job_id for step in steps],
        "all_number": [step.attempt for step in steps],
        "all_name": [step.place.name for step in steps],
        "all_key": [step.place.key for step in steps],
        "all_fingerprint": [step.fingerprint for step in steps],
        "all_result": [step.result for step in steps],
        "all_seconds": [step.seconds for step in steps],
        "all_age": [now - step.ended_at for step in steps],
    }
    rows = session.connection().execute(_SAVE, given)
    return [_verdict(is_held=is_held, is_saved=is_saved) for is_held, is_saved in rows]


def load(session: Session, origin_id: UUID) -> dict[Place, SavedStep]:
    """All that was saved of a job."""
    rows = session.execute(select(Step.name, Step.key, *_VALUE).where(Step.job_id == origin_id))
    return {Place(name, key): SavedStep(fingerprint, result) for name, key, fingerprint, result in rows}


def find(session: Session, origin_id: UUID, place: Place) -> SavedStep | None:
    """What was saved of a job at this place."""
    found = select(*_VALUE).where(Step.job_id == origin_id, Step.name == place.name, Step.key == place.key)
    row = session.execute(found).one_or_none()
    return None if row is None else SavedStep(*row)


def is_equal(session: Session, step: NewStep) -> bool:
    """Whether what is saved in the step's place is just what it would be."""
    result = func.nullif(literal(step.result, Text).cast(JSONB), text("'null'::jsonb"))
    equal = select(Step.job_id).where(
        Step.job_id == step.origin_id,
        Step.name == step.place.name,
        Step.key == step.place.key,
        Step.fingerprint == step.fingerprint,
        Step.result.is_not_distinct_from(result),
    )
    return session.execute(equal).one_or_none() is not None


def _verdict(*, is_held: bool, is_saved: bool) -> Verdict:
    if not is_held:
        return Verdict.STALE
    return Verdict.SAVED if is_saved else Verdict.TAKEN


# As text, which only the type of the step's function can read.
_VALUE = (Step.fingerprint, func.coalesce(Step.result.cast(Text), "null"))
