"""The process that submits jobs, each in one transaction with a row of its own, and is killed while it does.

Some submits are rolled back on purpose. What was acknowledged and what was rolled back is noted in a file,
past the database, so that both can be compared with what is there in the end.
"""

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from holdfast.app import Holdfast
from holdfast.jobs.task import Task

ROLLED_BACK_SHARE = 0.05
_THINKING_SECONDS = 0.02
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Order:
    """What is to be submitted.

    Attributes:
        jobs: how many in all, those of earlier lives of the process included.
        seconds: over which time, evenly.
        seed: of the tasks' order.
        mix: tasks by name, and how often each is drawn.
        args: the arguments of every job; with `None` a job gets its number as `serial`.
        expected: how jobs of a task end; those that are not named may end as they will.
        notes: the file that tells what was acknowledged.
    """

    jobs: int
    seconds: float
    seed: int
    mix: Mapping[str, int]
    args: Mapping[str, Any] | None
    expected: Mapping[str, str]
    notes: Path

    def dump(self) -> str:
        """As JSON, for a command line."""
        return json.dumps({**vars(self), "notes": str(self.notes)})

    @classmethod
    def load(cls, text: str) -> "Order":
        """What `dump` gave."""
        values = json.loads(text)
        return cls(**{**values, "notes": Path(values["notes"])})

    def task(self, serial: int) -> str:
        """Which task the job of this number is of."""
        drawn = random.Random(f"{self.seed} {serial}")  # noqa: S311 - repeatable on purpose
        return drawn.choices(list(self.mix), list(self.mix.values()))[0]


def submit(holdfast: Holdfast, order: Order) -> None:
    """Submit until all jobs are there; a database that is away is waited for."""
    began, already = time.monotonic(), None
    with order.notes.open("a", buffering=1) as notes:
        while True:
            try:
                done = _count(holdfast)
                already = done if already is None else already
                if done >= order.jobs:
                    break
                share = (done - already) / (order.jobs - already)
                _wait_until(began + share * order.seconds * (order.jobs - already) / order.jobs)
                _submit_one(holdfast, order, done, notes)
            except SQLAlchemyError:
                time.sleep(_PAUSE_SECONDS)  # whether the commit arrived is not known: the count will tell


def _count(holdfast: Holdfast) -> int:
    with holdfast.database.session() as session:
        return int(session.execute(text("SELECT count(*) FROM chaos.submissions")).scalar_one())


def _submit_one(holdfast: Holdfast, order: Order, serial: int, notes: TextIO) -> None:
    task = holdfast.tasks[order.task(serial)]
    args = {"serial": serial} if order.args is None else dict(order.args)
    rolls_back = random.random() < ROLLED_BACK_SHARE  # noqa: S311 - not a secret
    with holdfast.database.session() as session:
        job_id = _write(session, task, args, serial, order.expected.get(task.name))
        time.sleep(random.uniform(0, _THINKING_SECONDS))  # noqa: S311 - a good moment to be killed in
        if rolls_back:
            notes.write(f"rolled back {job_id}\n")
            session.rollback()
            return
        session.commit()
        notes.write(f"acknowledged {job_id}\n")


def _write(
    session: Session, task: Task[..., Any], args: dict[str, Any], serial: int, expected: str | None
) -> UUID:
    job_id = task.enqueue(session, **args).job_id
    session.execute(
        text("INSERT INTO chaos.submissions (job_id, serial, expected) VALUES (:job, :serial, :expected)"),
        {"job": job_id, "serial": serial, "expected": expected},
    )
    return job_id


def read_notes(path: Path) -> tuple[set[UUID], set[UUID]]:
    """The jobs that were acknowledged, and those that were rolled back."""
    lines = path.read_text().splitlines() if path.exists() else []
    noted = [line.rpartition(" ") for line in lines if len(line.rpartition(" ")[2]) == 36]
    acknowledged = {UUID(job_id) for what, _, job_id in noted if what == "acknowledged"}
    return acknowledged, {UUID(job_id) for what, _, job_id in noted if what == "rolled back"}


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
