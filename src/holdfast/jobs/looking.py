"""Looking through the jobs of all owners, for who runs the whole.

An owner's own lists have an index for what they are narrowed to. Here jobs can be narrowed to anything, and
something that few of ten million have would take seconds to find. So a look goes through `LOOKED_AT` jobs at
most, from the newest on, and says how far it came: whoever wants more looks on from there.
"""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from holdfast.jobs.models import ApiKey, Job
from holdfast.jobs.queries import JobFilter
from holdfast.states import JobStatus

# So many rows are read in some 20 ms.
LOOKED_AT: Final = 10_000
# So many are sorted in 10 ms.
FEW: Final = 5_000
_ALL_AT_ONCE: Final = (JobStatus.QUEUED, JobStatus.PROCESSING)
_MESSAGE_LENGTH: Final = 300


@dataclass(frozen=True)
class Found:
    """What a look has found, newest first.

    Attributes:
        looked_to: the oldest job that was looked at, to look on from; `None`: there is nothing older.
    """

    rows: list[dict[str, Any]]
    looked_to: UUID | None


def look(session: Session, where: JobFilter, *, limit: int, before: UUID | None = None) -> Found:
    """The newest jobs that the filter lets through, or as many of them as are among `LOOKED_AT`."""
    stretch = _stretch(session, where, before)
    job = aliased(Job, stretch.subquery("stretch"))
    query = _shown(job).where(*_conditions(job, where)).order_by(job.id.desc()).limit(limit)
    rows = [dict(row) for row in session.execute(query).mappings()]
    if len(rows) == limit:
        return Found(rows, rows[-1]["id"])
    # The end of the stretch, if it has not come to that of the table.
    last = select(stretch.subquery().c.id).offset(LOOKED_AT - 1)
    return Found(rows, session.execute(last).scalar_one_or_none())


def _stretch(session: Session, where: JobFilter, before: UUID | None) -> Select[Any]:
    """The jobs to look at: a stretch of an index that is in order, or all of a partial one."""
    job = _family(where)
    query = select(job).order_by(job.id.desc()).limit(LOOKED_AT)
    if before is not None:
        query = query.where(job.id < before)
    if where.owner_id is not None:
        query = query.where(job.owner_id == where.owner_id)
    if where.status is not None and (where.status not in _ALL_AT_ONCE or _are_few(session, where.status)):
        # A literal: the planner must see that a partial index has them.
        query = query.where(job.status == literal_column(f"'{where.status.value}'", Text))
    return query


def _family(where: JobFilter) -> type[Job]:
    """The jobs of a batch or a parent, read as a whole as in `queries`, or all."""
    families = {Job.batch_id: where.batch_id, Job.parent_id: where.parent_id}
    conditions = [column == value for column, value in families.items() if value is not None]
    if not conditions:
        return Job
    return aliased(Job, select(Job).where(*conditions).offset(0).subquery("family"))


def _are_few(session: Session, status: JobStatus) -> bool:
    """Whether so few jobs wait, or run, that they can be sorted: they are not indexed in the order of ids."""
    is_status = Job.status == literal_column(f"'{status.value}'", Text)
    some = select(literal_column("1")).select_from(Job).where(is_status).limit(FEW).subquery()
    return int(session.execute(select(func.count()).select_from(some)).scalar_one()) < FEW


def _conditions(job: type[Job], where: JobFilter) -> list[ColumnElement[bool]]:
    named = {
        job.status: where.status,
        job.task: where.task,
        job.queue: where.queue,
        job.owner_id: where.owner_id,
    }
    conditions = [column == value for column, value in named.items() if value is not None]
    if where.error is not None:
        conditions.append(job.error["code"].as_string() == where.error)
    return conditions


def _shown(job: type[Job]) -> Select[Any]:
    """What a list shows: no arguments and no result, which may be long, and the beginning of an error."""
    return select(
        job.id,
        job.task,
        job.queue,
        job.status,
        job.attempt,
        job.max_attempts,
        job.progress,
        job.error["code"].as_string().label("error_code"),
        func.left(job.error["message"].as_string(), _MESSAGE_LENGTH).label("error_message"),
        job.created_at,
        job.run_at,
        job.started_at,
        job.completed_at,
        job.cancel_requested_at,
        select(ApiKey.name).where(ApiKey.id == job.owner_id).scalar_subquery().label("owner"),
    )
