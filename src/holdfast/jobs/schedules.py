"""Tasks that are run by the clock: one job for each tick, however many schedulers look.

Every worker runs one. A tick's job and the note of how far its schedule has come are one transaction, which
whoever comes second finds done; and the tick is the job's idempotency key, so that a note that is lost makes
no second job either. The only clock is the database's: that of a worker may be wrong.
"""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from holdfast.jobs.cron import Cron
from holdfast.jobs.database import Database
from holdfast.jobs.models import Schedule
from holdfast.jobs.registry import Registry
from holdfast.jobs.task import Task

log = logging.getLogger(__name__)

# Between two looks at most: a database whose clock is set right meanwhile is noticed.
LOOK_SECONDS = 60.0


@dataclass(frozen=True)
class ScheduleView:
    """A schedule as it stands: `last_tick_at` is the newest tick that a job was made for, if there is one."""

    task: str
    cron: str
    timezone: str
    last_tick_at: datetime | None
    next_tick_at: datetime


class Scheduler:
    """Makes the jobs of the ticks that have come.

    A round costs nothing until the next tick is due, and one look at the database a minute: how long that is
    was told by the database's clock, and is measured by a clock that nobody sets.

    Args:
        database: where the schedules are.
        registry: of the tasks, some of which may have a `cron`.
    """

    def __init__(self, database: Database, registry: Registry) -> None:
        self._database = database
        self._registry = registry
        self._begun: set[str] = set()
        self._next_look = 0.0

    def round(self) -> int:
        """Make the jobs that are due; returns how many.

        Raises:
            SQLAlchemyError: the database is away; the next round makes up for it.
        """
        crons = {task: task.options.cron for task in self._registry if task.options.cron is not None}
        names = {task.name for task in crons}
        if not names or (names <= self._begun and time.monotonic() < self._next_look):
            return 0
        now, last_ticks = self._look({task.name: cron for task, cron in crons.items()})
        looked_at = time.monotonic()
        made = sum(
            self._make_job(task, tick)
            for task, cron in crons.items()
            for tick in cron.due_ticks(last_ticks[task.name], now)
        )
        wait = min((cron.next_tick(now) - now).total_seconds() for cron in crons.values())
        self._next_look = looked_at + min(wait, LOOK_SECONDS)
        return made

    def _look(self, crons: dict[str, Cron]) -> tuple[datetime, dict[str, datetime]]:
        """The database's time, and how far each schedule has come by it."""
        with self._database.transaction() as session:
            known = _last_ticks(session, crons)
            for name, cron in crons.items():
                # Only a process that begins says what its code wants: two versions of it may run for a while.
                if name not in self._begun or name not in known:
                    known[name] = begin(session, name, cron)
            now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        self._begun.update(crons)
        return now, known

    def _make_job(self, task: Task[..., Any], tick: datetime) -> bool:
        with self._database.transaction() as session:
            if not advance(session, task.name, tick):
                return False
            moment = tick.isoformat()
            accepted = task.enqueue(session, metadata={"tick": moment}, idempotency_key=f"tick:{moment}")
        log.info("The tick of %s at %s makes job %s", task.name, moment, accepted.job_id)
        return accepted.created


def begin(session: Session, task: str, cron: Cron) -> datetime:
    """Note the schedule; one that is new, or has another cron or zone than before, starts from now.

    Returns the time up to which its ticks are done with.
    """
    row = insert(Schedule).values(
        task=task, cron=cron.expression, timezone=cron.timezone, last_tick_at=func.clock_timestamp()
    )
    given = tuple_(row.excluded.cron, row.excluded.timezone)
    is_same = tuple_(Schedule.cron, Schedule.timezone) == given
    noted = row.on_conflict_do_update(
        index_elements=[Schedule.task],
        set_={
            "cron": row.excluded.cron,
            "timezone": row.excluded.timezone,
            "last_tick_at": case(
                (is_same, Schedule.last_tick_at),
                else_=func.greatest(Schedule.last_tick_at, row.excluded.last_tick_at),
            ),
        },
    )
    last_tick_at: datetime = session.execute(noted.returning(Schedule.last_tick_at)).scalar_one()
    return last_tick_at


def advance(session: Session, task: str, tick: datetime) -> bool:
    """Note that this tick's job is made in this transaction; `False`: it was made, or passed over, before."""
    advanced = session.execute(
        update(Schedule)
        .where(Schedule.task == task, Schedule.last_tick_at < tick)
        .values(last_tick_at=tick)
        .returning(Schedule.task)
    )
    return advanced.one_or_none() is not None


def list_schedules(session: Session, registry: Registry) -> list[ScheduleView]:
    """The schedules of all registered tasks by name, whether or not a worker has begun them."""
    crons = {task.name: task.options.cron for task in registry if task.options.cron is not None}
    last_ticks = _last_ticks(session, crons)
    now = session.execute(select(func.clock_timestamp())).scalar_one()
    views = []
    for name, cron in sorted(crons.items()):
        last = last_ticks.get(name)
        # Before its first tick a schedule has come as far as its beginning.
        ticked = last if last is not None and cron.is_tick(last) else None
        views.append(ScheduleView(name, cron.expression, cron.timezone, ticked, cron.next_tick(now)))
    return views


def _last_ticks(session: Session, tasks: Collection[str]) -> dict[str, datetime]:
    rows = session.execute(select(Schedule.task, Schedule.last_tick_at).where(Schedule.task.in_(tasks)))
    return dict(rows.all())
