"""Which workers are alive: each says so every second, and holds a lock that goes when its process does."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Float, Table, delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from holdfast.jobs.models import WorkerRow

# The first key of a worker's advisory lock, whose second is the worker's id; any number will do, as long as
# every Holdfast uses the same.
WORKER_LOCK = 0x_401D_FA58

LONGEST_BEAT = timedelta(seconds=1)

_workers = cast("Table", WorkerRow.__table__)
_HAS_SETTLED = text("SELECT now() - pg_postmaster_start_time() > CAST(:settling AS interval)")
_SILENT = text("""
    SELECT name, host, pid FROM holdfast.workers
    WHERE (heartbeat_at < now() - CAST(:silence AS interval) OR host = :here) AND id NOT IN (
        SELECT objid::bigint FROM pg_locks
        WHERE locktype = 'advisory' AND classid = CAST(:key AS oid) AND objsubid = 2 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
""")
# A worker that has said nothing for so long is not counted on.
SILENCE = timedelta(seconds=5)
_PULLED = text("""
    SELECT queue FROM holdfast.workers CROSS JOIN unnest(queues) AS queue
    WHERE stopping_at IS NULL AND heartbeat_at > now() - CAST(:silence AS interval)
    GROUP BY queue HAVING bool_and(queue = ANY(pulls))
""")


@dataclass(frozen=True)
class Worker:
    """Who holds leases: a worker process with all its children.

    Attributes:
        name: unique to this start of this process.
        lease: how long a job is safe after the last heartbeat.
    """

    name: str
    lease: timedelta

    @property
    def beat(self) -> timedelta:
        """How often it says that it lives."""
        return min(self.lease / 15, LONGEST_BEAT)

    @property
    def silence(self) -> timedelta:
        """How long a worker that has lost its connection may say nothing before it counts as dead."""
        return self.beat * 2.5

    @property
    def settling(self) -> timedelta:
        """How long the living are given to speak up after a time when nobody could."""
        return self.beat * 5


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker says of itself with every beat.

    Attributes:
        pool: the kind of its pool, such as `prefork`.
        concurrency: jobs it runs at a time at most.
        queues: those it takes jobs from.
        pulls: those of them whose backlog it takes by itself, without a message for each job.
        running: jobs it runs now.
        is_consuming: whether it would take a job now if it had a slot for it.
    """

    host: str
    pid: int
    pool: str
    concurrency: int
    queues: Sequence[str]
    running: int
    is_consuming: bool
    pulls: Sequence[str] = ()


@dataclass(frozen=True)
class SilentWorker:
    """A worker that says nothing and has lost its connection."""

    name: str
    host: str
    pid: int


@dataclass(frozen=True)
class WorkerState:
    """A worker as it last described itself.

    Attributes:
        heartbeat_age_seconds: how long ago that was.
        is_consuming: whether it would have taken a job then.
        is_stopping: whether it is shutting down.
    """

    name: str
    host: str
    pid: int
    pool: str
    queues: list[str]
    running: int
    concurrency: int
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_seconds: float
    is_consuming: bool
    is_stopping: bool


def list_workers(session: Session) -> list[WorkerState]:
    """Every worker that has not ended in order and was not found dead, by name."""
    columns = _workers.c
    # Both times are written by one statement, so that they are the same or it was not consuming.
    is_consuming = func.coalesce(columns.consuming_at == columns.heartbeat_at, False)
    query = select(
        columns.name,
        columns.host,
        columns.pid,
        columns.pool,
        columns.queues,
        columns.running,
        columns.concurrency,
        columns.started_at,
        columns.heartbeat_at,
        func.extract("epoch", func.now() - columns.heartbeat_at).cast(Float).label("heartbeat_age_seconds"),
        is_consuming.label("is_consuming"),
        columns.stopping_at.is_not(None).label("is_stopping"),
    )
    return [WorkerState(**row) for row in session.execute(query.order_by(columns.name)).mappings()]


def say_alive(session: Session, name: str, facts: WorkerFacts) -> int:
    """Record a beat, with what there is to say; returns the worker's id for its lock."""
    said: dict[str, Any] = {
        "pool": facts.pool,
        "concurrency": facts.concurrency,
        "queues": list(facts.queues),
        "pulls": list(facts.pulls),
        "running": facts.running,
        "heartbeat_at": func.now(),
    }
    if facts.is_consuming:
        said["consuming_at"] = func.now()
    beat = update(_workers).where(_workers.c.name == name).values(said).returning(_workers.c.id)
    known = session.execute(beat).scalar_one_or_none()
    if known is not None:
        return int(known)
    # New, or taken for dead by somebody, who has removed the row.
    row = {**said, "name": name, "host": facts.host, "pid": facts.pid}
    return int(session.execute(insert(_workers).values(row).returning(_workers.c.id)).scalar_one())


def lock(session: Session, worker_id: int) -> bool:
    """Hold the worker's lock for as long as this connection lives; `False`: an older one still holds it."""
    return bool(session.execute(select(func.pg_try_advisory_lock(WORKER_LOCK, worker_id))).scalar_one())


def pulled_queues(session: Session) -> set[str]:
    """The queues whose workers all take the backlog by themselves; nobody's queues are not among them."""
    return set(session.scalars(_PULLED, {"silence": SILENCE}))


def say_stopping(session: Session, name: str) -> None:
    """Record that the worker shuts down."""
    session.execute(update(_workers).where(_workers.c.name == name).values(stopping_at=func.now()))


def has_settled(session: Session, settling: timedelta) -> bool:
    """Whether PostgreSQL has run that long: its restart cuts everybody's connection."""
    return bool(session.execute(_HAS_SETTLED, {"settling": settling}).scalar_one())


def silent_workers(session: Session, *, silence: timedelta, here: str | None = None) -> list[SilentWorker]:
    """Workers without a connection that have said nothing for `silence`; those of the host `here` at once."""
    given = {"silence": silence, "here": here, "key": WORKER_LOCK}
    return [SilentWorker(*row) for row in session.execute(_SILENT, given)]


def remove(session: Session, names: Collection[str]) -> None:
    """Forget workers that have ended."""
    session.execute(delete(WorkerRow).where(WorkerRow.name.in_(names)))
