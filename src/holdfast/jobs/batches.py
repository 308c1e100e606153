"""Batches: many jobs of one task, submitted in one transaction, counted and cancelled together."""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import (
    Insert,
    Integer,
    Select,
    Table,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from holdfast.bounds import MAX_JOBS
from holdfast.errors import InvalidArgument, InvalidArguments
from holdfast.jobs import idempotency, store
from holdfast.jobs.accepted import BatchAccepted
from holdfast.jobs.ids import new_ids
from holdfast.jobs.models import Batch, Job
from holdfast.jobs.options import check_metadata
from holdfast.jobs.signature import Signature
from holdfast.jobs.storable import storable_json
from holdfast.states import JobStatus

# Jobs of a batch that are handed over at once, if there is room; the relay sends the others.
HANDED_OVER: Final = 500
# Jobs that are checked and encoded in one go. Of more at a time so many objects would live at once that the
# garbage collector looks through all of the process, which took longer than the rest.
_TOGETHER: Final = 100
_OWN_COLUMNS: Final = ("id", "args", "metadata", "sent_at", "idempotency_key", "request_hash")
_jobs = typing.cast("Table", Job.__table__)


class NewItem(NamedTuple):
    """One job of a batch to be: the task's arguments, and what the caller keeps with them."""

    args: Mapping[str, Any]
    metadata: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True)
class NewRows:
    """In what the jobs of a batch differ: ids that sort in their order, and all of it as JSON text.

    `args` are there if they are asked for.
    """

    job_ids: list[UUID]
    args: list[JsonValue]
    text: str


@dataclass(frozen=True)
class NewBatch:
    """What is written for a batch: its first job, and in what the others differ from it."""

    id: UUID
    first: store.NewJob
    rows: NewRows
    metadata: Mapping[str, Any]
    notify: Mapping[str, Any] | None = None

    @property
    def job_ids(self) -> list[UUID]:
        """The ids of its jobs, in the order the jobs were given in."""
        return self.rows.job_ids


@dataclass(frozen=True)
class CountedBatch:
    """A batch, and how many of its jobs stand how."""

    batch: Batch
    counts: Mapping[JobStatus, int]


def rows_of(items: Sequence[NewItem], signature: Signature, *, keeps_args: bool) -> NewRows:
    """Ids, arguments and metadata of the jobs, checked.

    Raises:
        InvalidArguments: an item does not fit, and which; or there are none, or too many.
    """
    if not 1 <= len(items) <= MAX_JOBS:
        raise InvalidArguments(f"A batch has 1 to {MAX_JOBS:,} jobs, not {len(items):,}.")
    job_ids = new_ids(len(items))
    kept: list[JsonValue] = []
    texts: list[str] = []
    for start in range(0, len(items), _TOGETHER):
        some = items[start : start + _TOGETHER]
        try:
            args = signature.dump_many(item.args for item in some)
            texts.append(_text(job_ids, start, args, some))
        except ValueError:
            # Once more one by one: which it is, and why, in the words of a single enqueue.
            args = [_dumped(number, item, signature) for number, item in enumerate(some, start)]
            texts.append(_text(job_ids, start, args, some))
        if keeps_args:
            kept += args
    return NewRows(job_ids, kept, f"[{','.join(texts)}]")


def _text(
    job_ids: Sequence[UUID], start: int, args: Sequence[dict[str, Any]], items: Sequence[NewItem]
) -> str:
    rows: JsonValue = [
        {"id": job_ids[number].hex, "number": number, "args": given, "metadata": dict(item.metadata or {})}
        for number, (given, item) in enumerate(zip(args, items, strict=True), start)
    ]
    # Encoded once: this both checks them and is what is sent.
    return storable_json(rows)[1:-1]


def begin(session: Session, first: store.NewJob) -> BatchAccepted | None:
    """Insert a batch's first job, whose key is that of the batch; or find the batch that was made with it.

    `None`: the job was written, and the rest is to follow.

    Raises:
        IdempotencyConflict: the key stands for another request.
    """
    if first.idempotency_key is None:
        store.enqueue(session, first)
    elif known := idempotency.enqueue_once(session, first):
        assert known.batch_id is not None  # noqa: S101 - the request was this batch
        return _accepted_before(session, known.batch_id)
    return None


def complete(session: Session, batch: NewBatch, *, handed_over: int) -> BatchAccepted:
    """Insert the batch, and its jobs like the first that was written: in three statements.

    The first `handed_over` jobs are marked as the first is, the others left to the relay.
    """
    connection = session.connection()
    values = {"batch": batch.id, "first": batch.first.id}
    connection.execute(
        insert(Batch).values(
            id=batch.id,
            owner_id=batch.first.owner_id,
            metadata_=dict(batch.metadata),
            total=len(batch.job_ids),
            notify=None if batch.notify is None else dict(batch.notify),
        )
    )
    connection.execute(_JOIN, values)
    others = {"first": batch.first.id, "rows": batch.rows.text, "handed_over": handed_over}
    connection.execute(_OTHERS, others)
    return BatchAccepted(batch_id=batch.id, total=len(batch.job_ids), job_ids=batch.job_ids)


def get_batch(session: Session, batch_id: UUID) -> CountedBatch | None:
    """The batch with this id, whoever owns it, with its jobs counted."""
    return next(iter(_counted(session, select(Batch).where(Batch.id == batch_id))), None)


def list_batches(
    session: Session, owner_id: UUID, *, limit: int, before: UUID | None = None
) -> list[CountedBatch]:
    """The owner's batches, newest first; `before` continues after the batch of that id."""
    query = select(Batch).where(Batch.owner_id == owner_id).order_by(Batch.id.desc()).limit(limit)
    return _counted(session, query if before is None else query.where(Batch.id < before))


def request_cancel(session: Session, batch_id: UUID) -> None:
    """Remember that the batch was asked to stop; `store.cancel_some` is what stops its jobs."""
    now = func.coalesce(Batch.cancel_requested_at, func.now())
    session.execute(update(Batch).where(Batch.id == batch_id).values(cancel_requested_at=now))


def _counted(session: Session, query: Select[Batch]) -> list[CountedBatch]:
    found = session.scalars(query, execution_options={"populate_existing": True}).all()
    counts: dict[UUID, dict[JobStatus, int]] = {batch.id: dict.fromkeys(JobStatus, 0) for batch in found}
    rows = session.execute(
        select(Job.batch_id, Job.status, func.count())
        .where(Job.batch_id.in_(counts))
        .group_by(Job.batch_id, Job.status)
    )
    for batch_id, status, count in rows:
        assert batch_id is not None  # noqa: S101 - the query asks for some
        counts[batch_id][JobStatus(status)] = count
    return [CountedBatch(batch, counts[batch.id]) for batch in found]


def _accepted_before(session: Session, batch_id: UUID) -> BatchAccepted:
    total = session.execute(select(Batch.total).where(Batch.id == batch_id)).scalar_one()
    job_ids = session.scalars(select(Job.id).where(Job.batch_id == batch_id).order_by(Job.id)).all()
    return BatchAccepted(batch_id=batch_id, total=total, job_ids=list(job_ids), created=False)


def _insert_others() -> Insert:
    # Like the first, whatever an enqueue gives it, but for what is their own.
    shared = [column for column in _jobs.c if column.name not in _OWN_COLUMNS]
    first = _jobs.alias("first")
    rows = (
        func.jsonb_to_recordset(cast(bindparam("rows", type_=Text), JSONB))
        .table_valued(
            column("id", Uuid), column("args", JSONB), column("metadata", JSONB), column("number", Integer)
        )
        .render_derived(name="rows", with_types=True)
    )
    sent_at = case((rows.c.number < bindparam("handed_over", type_=Integer), first.c.sent_at))
    chosen = (
        select(*(first.c[column.name] for column in shared), rows.c.id, rows.c.args, rows.c.metadata, sent_at)
        .select_from(first.join(rows, true()))
        .where(first.c.id == bindparam("first", type_=Uuid), rows.c.number > 0)
    )
    return insert(_jobs).from_select([*(column.name for column in shared), *_OWN_COLUMNS[:4]], chosen)


_JOIN = (
    update(_jobs)
    .where(_jobs.c.id == bindparam("first", type_=Uuid))
    .values(batch_id=bindparam("batch", type_=Uuid))
)
_OTHERS = _insert_others()


def _dumped(index: int, item: NewItem, signature: Signature) -> dict[str, Any]:
    try:
        check_metadata(item.metadata)
        return signature.dump_arguments(item.args)
    except InvalidArguments as error:
        located = [
            InvalidArgument((str(index), "args", *misfit.location), misfit.message, misfit.type)
            for misfit in error.arguments
        ]
        raise InvalidArguments(f"Job {index} of the batch: {error.message}", located) from error
