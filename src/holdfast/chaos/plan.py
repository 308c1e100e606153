"""What a run is to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.chaos.fault import Fault, Target
from holdfast.chaos.mix import BATCHES, MIX, WITH_DOCUMENTS, WORKLOAD, expected_status
from holdfast.chaos.submitter import Order


@dataclass(frozen=True)
class Plan:
    """A run: how many jobs of what, over how long, and how they are disturbed.

    Attributes:
        app: the Holdfast whose task runs, as module:attribute.
        task: the one task to run; with `None` the mix of chaos's own workload.
        args: the task's arguments.
        jobs: how many are submitted, evenly over `seconds`.
        faults: what is injected, one every `every_seconds` on average, as long as jobs are submitted.
        workers: how many worker processes, each with `concurrency` jobs in flight.
        lease_seconds: how long a job is safe after its worker's last heartbeat.
        patience_seconds: how long the jobs are given to end when the faults are over.
        setup: a shell command that prepares the database after the migrations.
    """

    jobs: int
    seconds: float
    faults: Sequence[Fault]
    seed: int
    app: str = ""
    task: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    every_seconds: float = 2.0
    workers: int = 3
    concurrency: int = 2
    pool: str = "prefork"
    lease_seconds: float = 15.0
    patience_seconds: float = 180.0
    setup: str | None = None

    @property
    def target(self) -> str:
        """The Holdfast that workers run."""
        if self.is_own:
            return WITH_DOCUMENTS if self.has_uploads else WORKLOAD
        return self.app

    @property
    def is_own(self) -> bool:
        """Whether chaos's own workload runs, whose effects and paid calls are known."""
        return self.task is None

    @property
    def has_uploads(self) -> bool:
        """Whether documents are uploaded beside it: there is a fault that is about them."""
        return self.is_own and any(fault.target == Target.API for fault in self.faults)

    def order(self, folder: Path) -> Order:
        """What the submitter is told."""
        mix = MIX if self.task is None else {self.task: 1}
        return Order(
            jobs=self.jobs,
            seconds=self.seconds,
            seed=self.seed,
            mix=mix,
            batches=BATCHES if self.task is None else {},
            args=None if self.task is None else dict(self.args),
            expected={} if self.task else {task: expected_status(task).value for task in mix},
            notes=folder / "submitted.txt",
        )
