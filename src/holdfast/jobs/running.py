"""An attempt while it runs, as the threads around it see it: its progress, and whether it should stop."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from holdfast.jobs.store import Claim


class RunningAttempt:
    """What passes between the thread that runs a job and the one that reports for the process.

    Attributes:
        claim: the attempt's hold on its job.
        progress: the newest progress, kept for the end.
        stop_requested: somebody asked the job to stop.
        is_stale: the job has moved on without this attempt.
        on_stop: called once, from another thread, at the first sign to stop.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.progress: dict[str, Any] | None = None
        self.stop_requested = False
        self.is_stale = False
        self.on_stop: Callable[[], object] = lambda: None
        self._unreported: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[UUID, int]:
        """The job's id and the attempt's number."""
        return self.claim.id, self.claim.attempt

    def report(self, progress: dict[str, Any]) -> None:
        """Leave the newest progress; what was not taken yet is overwritten."""
        self.progress = self._unreported = progress

    def take_report(self) -> dict[str, Any] | None:
        """The newest progress, if there is any that was not taken yet."""
        taken, self._unreported = self._unreported, None
        return taken

    def signal_stop(self, *, stale: bool) -> None:
        """Tell the attempt to stop: it is `stale`, or was asked to."""
        is_first = not (self.stop_requested or self.is_stale)
        self.is_stale = self.is_stale or stale
        self.stop_requested = self.stop_requested or not stale
        if is_first:
            self.on_stop()
