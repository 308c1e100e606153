"""The process that submits jobs, each in one transaction with a row of its own, and is killed while it does.

Some are submitted as a batch, all in one transaction. Some submits are rolled back on purpose. What was
acknowledged and what was rolled back is noted in a file, past the database, so that both can be compared with
what is there in the end.
"""

import json
import random
import time
from collections.abc import Mapping, Sequence
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
        batches: how many jobs of a task are submitted together, where it is more than one. Every other batch
            has an idempotency key and is asked for once more, which must give the same jobs.
        args: the arguments of every job; with `None` a job gets its number as `serial`.
        expected: how jobs of a task end; those that are not named may end as they will.
        notes: the file that tells what was acknowledged.
    """

    jobs: int
    seconds: float
    seed: int
    mix: Mapping[str, int]
    batches: Mapping[str, int]
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

    def key(self, serial: int) -> str | None:
        """The idempotency key of the batch that begins with the job of this number, if it has one."""
        return f"batch:{serial}" if self.task(serial) in self.batches and serial % 2 else None

    def arguments(self, serial: int) -> dict[str, Any]:
        """The arguments of the job of this number."""
        return {"serial": serial} if self.args is None else dict(self.args)


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
                _submit_some(holdfast, order, done, notes)
            except SQLAlchemyError:
                time.sleep(_PAUSE_SECONDS)  # whether the commit arrived is not known: the count will tell


def _count(holdfast: Holdfast) -> int:
    with holdfast.database.session() as session:
        return int(session.execute(text("SELECT count(*) FROM chaos.submissions")).scalar_one())


def _submit_some(holdfast: Holdfast, order: Order, serial: int, notes: TextIO) -> None:
    task = holdfast.tasks[order.task(serial)]
    rolls_back = random.random() < ROLLED_BACK_SHARE  # noqa: S311 - not a secret
    with holdfast.database.session() as session:
        job_ids = _enqueue(session, task, order, serial)
        _write(session, job_ids, serial, order.expected.get(task.name))
        time.sleep(random.uniform(0, _THINKING_SECONDS))  # noqa: S311 - a good moment to be killed in
        if rolls_back:
            _note(notes, "rolled back", job_ids)
            session.rollback()
            return
        session.commit()
        _note(notes, "acknowledged", job_ids)
        if order.key(serial) is not None:
            job_ids = _enqueue(session, task, order, serial)
            session.commit()
            _note(notes, "acknowledged", job_ids)


def _enqueue(session: Session, task: Task[..., Any], order: Order, serial: int) -> list[UUID]:
    if task.name not in order.batches:
        return [task.enqueue(session, **order.arguments(serial)).job_id]
    size = min(order.batches[task.name], order.jobs - serial)
    arguments = [order.arguments(number) for number in range(serial, serial + size)]
    return task.enqueue_many(session, arguments, idempotency_key=order.key(serial)).job_ids


def _write(session: Session, job_ids: Sequence[UUID], serial: int, expected: str | None) -> None:
    session.execute(
        text("INSERT INTO chaos.submissions (job_id, serial, expected) VALUES (:job, :serial, :expected)"),
        [
            {"job": job_id, "serial": number, "expected": expected}
            for number, job_id in enumerate(job_ids, start=serial)
        ],
    )


def _note(notes: TextIO, what: str, job_ids: Sequence[UUID]) -> None:
    notes.writelines(f"{what} {job_id}\n" for job_id in job_ids)


def read_notes(path: Path) -> tuple[set[UUID], set[UUID]]:
    """The jobs that were acknowledged, and those that were rolled back."""
    lines = path.read_text().splitlines() if path.exists() else []
    noted = [line.rpartition(" ") for line in lines if len(line.rpartition(" ")[2]) == 36]
    acknowledged = {UUID(job_id) for what, _, job_id in noted if what == "acknowledged"}
    return acknowledged, {UUID(job_id) for what, _, job_id in noted if what == "rolled back"}


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
