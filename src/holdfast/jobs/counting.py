"""Counting the jobs that have ended, so that nobody has to when somebody asks how it goes.

Every few seconds one of the workers reads the jobs that ended since the last time, and adds them to counts by
task and stretch of time, three lengths of stretch for the three spans that are shown. Each job is read once,
along an index that costs a completion nothing; whoever looks reads some thousand rows, however many jobs
there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from holdfast.jobs.database import Database

# How long after the end of a job it is counted at the earliest.
SETTLING: Final = timedelta(seconds=1)
# A transaction that is open longer than this is not waited for; what it ends is not counted.
PATIENCE: Final = timedelta(minutes=1)
# How much time is counted in one transaction, and how many of them make a round, when there is a past to
# catch up with.
PIECE: Final = timedelta(minutes=5)
PIECES: Final = 50


@dataclass(frozen=True)
class Span:
    """A time up to now that is shown, in stretches of `seconds`."""

    name: str
    length: timedelta
    seconds: int


SPANS: Final = {
    span.name: span
    for span in (
        Span("1h", timedelta(hours=1), 60),
        Span("24h", timedelta(hours=24), 900),
        Span("30d", timedelta(days=30), 21_600),
    )
}
OLDEST: Final = SPANS["30d"].length

# Past jobs are counted from the oldest that there is, for as long as they are shown. Without a look first
# the insertion would wait for whoever holds the row.
_BEGIN = text("""
    INSERT INTO holdfast.counted_until (id, moment)
    SELECT 1, greatest(
        now() - CAST(:oldest AS interval),
        coalesce((SELECT created_at FROM holdfast.jobs ORDER BY id LIMIT 1), now())
    )
    WHERE NOT EXISTS (SELECT FROM holdfast.counted_until) ON CONFLICT DO NOTHING
""")
_TAKE = text("SELECT moment FROM holdfast.counted_until FOR UPDATE SKIP LOCKED")
# A job has ended when its transaction began. As long as one is open that began before a moment, a job may
# yet come to light that ended before it.
_SETTLED = text("""
    SELECT greatest(
        clock_timestamp() - CAST(:patience AS interval),
        least(clock_timestamp() - CAST(:settling AS interval), min(xact_start))
    )
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
""")
# The wait is that for the first attempt, from the time the job was due; of jobs that were tried once, which
# say what a job takes.
_COUNT = text("""
    WITH ended AS MATERIALIZED (
        SELECT task, status, date_bin('1 minute', completed_at, 'epoch') AS minute,
            CASE WHEN attempt = 1 AND run_at <= started_at THEN started_at - run_at END AS wait,
            CASE WHEN attempt = 1 AND status = 'completed' THEN completed_at - started_at END AS run
        FROM holdfast.jobs WHERE completed_at >= :since AND completed_at < :until
    ), by_task AS (
        SELECT minute, task, count(*) FILTER (WHERE status = 'completed') AS completed,
            count(*) FILTER (WHERE status = 'failed') AS failed,
            count(*) FILTER (WHERE status = 'cancelled') AS cancelled
        FROM ended GROUP BY minute, task
    ), by_length AS (
        SELECT minute, kind, CAST(ceil(2 * ln(ms) / ln(CAST(2 AS float))) AS smallint) AS magnitude,
            count(*) AS jobs
        FROM ended CROSS JOIN LATERAL (VALUES ('wait', wait), ('run', run)) AS each (kind, length)
        CROSS JOIN LATERAL (
            SELECT CAST(greatest(1, 1000 * extract(epoch FROM length)) AS float) AS ms
        ) AS measured
        WHERE length IS NOT NULL GROUP BY minute, kind, magnitude
    ), counted AS (
        INSERT INTO holdfast.job_counts AS old (seconds, starts_at, task, completed, failed, cancelled)
        SELECT seconds, date_bin(make_interval(secs => seconds), minute, 'epoch') AS starts_at, task,
            sum(completed), sum(failed), sum(cancelled)
        FROM by_task CROSS JOIN unnest(CAST(:lengths AS integer[])) AS seconds
        GROUP BY seconds, starts_at, task ORDER BY seconds, starts_at, task
        ON CONFLICT (seconds, starts_at, task) DO UPDATE SET completed = old.completed + excluded.completed,
            failed = old.failed + excluded.failed, cancelled = old.cancelled + excluded.cancelled
    ), measured AS (
        INSERT INTO holdfast.job_durations AS old (seconds, starts_at, kind, magnitude, jobs)
        SELECT seconds, date_bin(make_interval(secs => seconds), minute, 'epoch') AS starts_at, kind,
            magnitude, sum(jobs)
        FROM by_length CROSS JOIN unnest(CAST(:lengths AS integer[])) AS seconds
        GROUP BY seconds, starts_at, kind, magnitude
        ON CONFLICT (seconds, starts_at, kind, magnitude) DO UPDATE SET jobs = old.jobs + excluded.jobs
    )
    UPDATE holdfast.counted_until SET moment = :until
""")
_FORGET = [
    text(
        f"DELETE FROM holdfast.{table} WHERE seconds = :seconds"  # noqa: S608 - two names, both given here
        " AND starts_at < now() - CAST(:length AS interval)"
    )
    for table in ("job_counts", "job_durations")
]


class Counting:
    """Counts what has ended; every worker has one, and one of them at a time does the work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def round(self) -> int:
        """Count what has ended since the last round of any; returns in how many pieces.

        Raises:
            SQLAlchemyError: the database is away; the next round makes up for it.
        """
        for piece in range(PIECES):
            with self._database.transaction() as session:
                if not count_piece(session):
                    return piece
        return PIECES


def count_piece(session: Session) -> bool:
    """Count the jobs that ended in the next `PIECE`; `False`: there is no more to count just now.

    Each job is counted once, whoever counts: how far it has come is written in the same transaction, and
    read with a lock that others pass by.
    """
    since: datetime | None = session.execute(_TAKE).scalar_one_or_none()
    if since is None:
        session.execute(_BEGIN, {"oldest": OLDEST})
        return False
    settled: datetime = session.execute(_SETTLED, {"settling": SETTLING, "patience": PATIENCE}).scalar_one()
    until = min(settled, since + PIECE)
    if until <= since:
        return False
    lengths = [span.seconds for span in SPANS.values()]
    session.execute(_COUNT, {"since": since, "until": until, "lengths": lengths})
    is_behind = until < settled
    if not is_behind:
        _forget(session)
    return is_behind


def _forget(session: Session) -> None:
    for span in SPANS.values():
        # One stretch more than is shown: the oldest is shown in part.
        given = {"seconds": span.seconds, "length": span.length + timedelta(seconds=2 * span.seconds)}
        for statement in _FORGET:
            session.execute(statement, given)


@dataclass(frozen=True)
class Stretch:
    """What ended in a stretch of time. Quantiles are in seconds, and within a fifth of the truth.

    Attributes:
        starts_at: seconds since 1970.
        waits: the median, and what 95 of a hundred kept below; `None` if there were none.
        runs: the same of how long completed jobs ran.
    """

    starts_at: int
    completed: int
    failed: int
    cancelled: int
    waits: tuple[float, float] | None
    runs: tuple[float, float] | None


@dataclass(frozen=True)
class TaskCount:
    """How many jobs of a task ended how."""

    task: str
    completed: int
    failed: int
    cancelled: int


_SINCE = "seconds = :seconds AND starts_at > now() - CAST(:length AS interval)"
_COUNTS = text(
    "SELECT extract(epoch FROM starts_at)::bigint AS starts_at, sum(completed) AS completed,"  # noqa: S608
    " sum(failed) AS failed, sum(cancelled) AS cancelled"
    f" FROM holdfast.job_counts WHERE {_SINCE} GROUP BY 1"
)
_BY_TASK = text(
    "SELECT task, sum(completed) AS completed, sum(failed) AS failed,"  # noqa: S608
    " sum(cancelled) AS cancelled"
    " FROM holdfast.job_counts"
    f" WHERE {_SINCE} GROUP BY task ORDER BY sum(completed + failed + cancelled) DESC, task LIMIT :most"
)
_DURATIONS = text(
    "SELECT extract(epoch FROM starts_at)::bigint, kind, magnitude, jobs FROM holdfast.job_durations"  # noqa: S608
    f" WHERE {_SINCE} ORDER BY magnitude"
)
_NOW = text("SELECT extract(epoch FROM date_bin(make_interval(secs => :seconds), now(), 'epoch'))::bigint")


def stretches(session: Session, span: Span) -> list[Stretch]:
    """All stretches of a span from the oldest to that of now, those without jobs too."""
    given = {"seconds": span.seconds, "length": span.length}
    counts = {row.starts_at: row for row in session.execute(_COUNTS, given)}
    lengths: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for starts_at, kind, magnitude, jobs in session.execute(_DURATIONS, given):
        lengths.setdefault((starts_at, kind), []).append((magnitude, jobs))
    newest = int(session.execute(_NOW, given).scalar_one())
    oldest = newest + span.seconds - int(span.length.total_seconds())
    return [
        Stretch(
            starts_at,
            **_counts_of(counts.get(starts_at)),
            waits=_quantiles(lengths.get((starts_at, "wait"), ())),
            runs=_quantiles(lengths.get((starts_at, "run"), ())),
        )
        for starts_at in range(oldest, newest + 1, span.seconds)
    ]


def by_task(session: Session, span: Span, *, most: int) -> list[TaskCount]:
    """The tasks with most jobs that ended in a span."""
    given = {"seconds": span.seconds, "length": span.length, "most": most}
    return [TaskCount(row.task, **_counts_of(row)) for row in session.execute(_BY_TASK, given)]


def _counts_of(row: Row[Any] | None) -> dict[str, int]:
    ways = ("completed", "failed", "cancelled")
    return {way: 0 if row is None else int(getattr(row, way)) for way in ways}


def _quantiles(counts: Sequence[tuple[int, int]]) -> tuple[float, float] | None:
    return (_quantile(counts, 0.5), _quantile(counts, 0.95)) if counts else None


def _quantile(counts: Sequence[tuple[int, int]], share: float) -> float:
    """The value, in seconds, that this share of jobs is not above; counts come by magnitude."""
    wanted = share * sum(jobs for _, jobs in counts)
    passed = 0
    for magnitude, jobs in counts:
        if passed + jobs >= wanted:
            # Between the bounds of the magnitude as far as it has to be gone through.
            return float(2 ** ((magnitude - 1 + (wanted - passed) / jobs) / 2)) / 1000
        passed += jobs
    raise AssertionError("a share of all is reached")
