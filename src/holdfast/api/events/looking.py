"""What PostgreSQL says of watched jobs: one question for all of them."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.api.events.watched import Watched
from holdfast.jobs import queries
from holdfast.jobs.lifecycle import Change, lifecycle
from holdfast.live.feed import Entry
from holdfast.states import JobStatus

# Given a job's row, as `queries.SHOWN_JOBS` has it: the job as the API shows it, as JSON.
View = Callable[[Row[Any]], bytes]


@dataclass(frozen=True)
class Found:
    """A job that stands otherwise than it was known; without a row if it is gone."""

    job_id: UUID
    row: Row[Any] | None
    changes: Sequence[Change]
    entries: Sequence[Entry]


async def find_changes(connection: AsyncConnection, watched: Sequence[Watched], view: View) -> list[Found]:
    """Those of the watched jobs that something has become of, with all that has ever become of them."""
    known = {
        "job_ids": [each.job_id for each in watched],
        "statuses": [each.status for each in watched],
        "attempts": [each.attempt for each in watched],
    }
    rows = (await connection.execute(queries.CHANGED_JOBS, known)).all()
    if not rows:
        return []
    attempts = await attempts_of(connection, [row.asked_id for row in rows])
    views = await _views(connection, rows, watched, view)
    return [_found(row, attempts[row.asked_id], views.get(row.asked_id)) for row in rows]


async def attempts_of(connection: AsyncConnection, job_ids: Sequence[UUID]) -> dict[UUID, list[Row[Any]]]:
    """The attempts of these jobs, first to last."""
    attempts: dict[UUID, list[Row[Any]]] = defaultdict(list)
    for attempt in await connection.execute(queries.ATTEMPTS_OF, {"job_ids": job_ids}):
        attempts[attempt.job_id].append(attempt)
    return attempts


def encoded(change: Change, view: bytes | None) -> Entry:
    """A change as it is told: with the job's end the whole job, as it is shown."""
    data = view if change.is_end and view is not None else orjson.dumps(change.data, option=orjson.OPT_UTC_Z)
    return Entry(change.id, change.name.encode(), data)


async def _views(
    connection: AsyncConnection, rows: Sequence[Row[Any]], watched: Sequence[Watched], view: View
) -> dict[UUID, bytes]:
    """The jobs that have ended, as those who watch one of them alone are shown it."""
    streamed = {each.job_id for each in watched if each.streams}
    ended = [row.id for row in rows if row.id in streamed and JobStatus(row.status).is_terminal]
    shown = await connection.execute(queries.SHOWN_JOBS, {"job_ids": ended}) if ended else ()
    return {row.id: view(row) for row in shown}


def _found(row: Row[Any], attempts: Sequence[Row[Any]], view: bytes | None) -> Found:
    if row.id is None:
        return Found(row.asked_id, None, (), ())
    changes = lifecycle(row, attempts)
    return Found(row.id, row, changes, [encoded(change, view) for change in changes])
