"""Failed jobs, grouped by what was wrong with them, and found again by that.

Two errors are alike if task and code are the same and the messages differ only in what is likely to differ
from job to job: numbers, ids, and what stands in quotes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

# The newest failures that are looked at. Reading and grouping them takes some 60 ms.
LOOKED_AT: Final = 5_000
_COMPARED_LENGTH: Final = 300
# One after the other: what stands in quotes, ids, other words with digits.
_PATTERN: Final = r"""'[^']*'|"[^"]*"|\m[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\M|\m\w*\d\w*\M"""
_LIKENESS: Final = (
    f"regexp_replace(left(error ->> 'message', {_COMPARED_LENGTH}), CAST(:pattern AS text), '…', 'g')"
)


@dataclass(frozen=True)
class FailureGroup:
    """Failed jobs whose errors are alike; counted among the newest `LOOKED_AT`.

    Attributes:
        likeness: the message without what differs.
        message: the newest of them in full.
        waiting: how many of them no other job has retried.
    """

    task: str
    code: str
    likeness: str
    message: str
    jobs: int
    waiting: int
    first_at: datetime
    last_at: datetime
    last_id: UUID


@dataclass(frozen=True)
class Likeness:
    """What names a group."""

    task: str
    code: str
    likeness: str


_GROUPS = text(f"""
    WITH newest AS MATERIALIZED (
        SELECT id, task, error, completed_at FROM holdfast.jobs
        WHERE status = 'failed' ORDER BY id DESC LIMIT :looked_at
    ), alike AS (
        SELECT id, task, coalesce(error ->> 'code', '') AS code, coalesce({_LIKENESS}, '') AS likeness,
            completed_at,
            EXISTS (SELECT FROM holdfast.jobs AS retry WHERE retry.retry_of = newest.id) AS retried
        FROM newest
    ), grouped AS (
        SELECT task, code, likeness, count(*) AS jobs, count(*) FILTER (WHERE NOT retried) AS waiting,
            min(completed_at) AS first_at, max(completed_at) AS last_at,
            (array_agg(id ORDER BY id DESC))[1] AS last_id
        FROM alike GROUP BY task, code, likeness
    )
    SELECT grouped.*, left(coalesce(jobs.error ->> 'message', ''), 2000) AS message
    FROM (SELECT * FROM grouped ORDER BY last_at DESC LIMIT :most) AS grouped
    JOIN holdfast.jobs ON jobs.id = grouped.last_id ORDER BY last_at DESC
""")  # noqa: S608 - put together from what stands above
_MEMBERS = text(f"""
    WITH newest AS MATERIALIZED (
        SELECT id, error FROM holdfast.jobs
        WHERE status = 'failed' AND task = :task AND (CAST(:before AS uuid) IS NULL OR id < :before)
        ORDER BY id DESC LIMIT :looked_at
    )
    SELECT id FROM newest
    WHERE coalesce(error ->> 'code', '') = :code AND coalesce({_LIKENESS}, '') = :likeness
        AND NOT EXISTS (SELECT FROM holdfast.jobs AS retry WHERE retry.retry_of = newest.id)
    ORDER BY id DESC LIMIT :most
""")  # noqa: S608


def groups(session: Session, *, most: int = 100) -> list[FailureGroup]:
    """The groups that failed last."""
    given = {"looked_at": LOOKED_AT, "pattern": _PATTERN, "most": most}
    return [FailureGroup(**row) for row in session.execute(_GROUPS, given).mappings()]


def members(session: Session, alike: Likeness, *, most: int, before: UUID | None = None) -> list[UUID]:
    """The newest jobs of a group that no other job has retried; `before` continues with older ones."""
    given: dict[str, Any] = {**vars(alike), "before": before, "most": most}
    return list(session.scalars(_MEMBERS, {**given, "looked_at": LOOKED_AT, "pattern": _PATTERN}))
