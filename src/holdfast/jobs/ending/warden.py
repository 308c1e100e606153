"""Sees to it that attempts leave when they have to: at their time limits, and when their worker shuts down.

One thread per process, which looks at all of them a few times a second. It does nothing that could wait: a
PostgreSQL that hangs must not let a job run on.
"""

import logging
import threading
import time
from collections.abc import Collection

from holdfast.jobs.ending.endings import GRACE_SECONDS, Ending
from holdfast.jobs.ending.stopping import Stage, StopSign, Timetable
from holdfast.jobs.running import RunningAttempt

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1


class Warden:
    """Tells attempts to leave, and makes those leave that do not.

    Args:
        sign: how far the shutdown of the worker is.
        timetable: of that shutdown.
    """

    def __init__(self, sign: StopSign, timetable: Timetable) -> None:
        self._sign = sign
        self._patience = {
            Ending.TIMEOUT: 0.0,
            Ending.DEADLINE: 0.0,
            Ending.CANCELLED: GRACE_SECONDS,
            Ending.STALE: GRACE_SECONDS,
            Ending.SHUTDOWN: timetable.forces_after,
        }
        self._open: set[RunningAttempt] = set()
        self._stuck: set[RunningAttempt] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def open(self, attempt: RunningAttempt) -> None:
        """Begin to watch an attempt."""
        with self._changed:
            self._open.add(attempt)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="holdfast-warden", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, attempt: RunningAttempt) -> None:
        """Stop watching an attempt, which has left."""
        with self._changed:
            self._open.discard(attempt)
            self._stuck.discard(attempt)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._open)
                attempts = list(self._open)
            self._look(attempts)
            time.sleep(LOOK_SECONDS)

    def _look(self, attempts: Collection[RunningAttempt]) -> None:
        is_leaving = self._sign.stage is Stage.LEAVING
        now = time.monotonic()
        # Of a thousand that wait there is seldom one to be told anything.
        due = attempts if is_leaving else [attempt for attempt in attempts if attempt.is_due(now)]
        for attempt in due:
            if attempt.ending is None:
                over = attempt.time_is_over or (Ending.SHUTDOWN if is_leaving else None)
                if over is not None:
                    attempt.tell(over)
            if attempt.ending is not None and now >= attempt.told_at + self._patience[attempt.ending]:
                self._tell_if_stuck(attempt)
                attempt.force()

    def _tell_if_stuck(self, attempt: RunningAttempt) -> None:
        """Say where the task of a job is that goes on without it, for as long as it likes."""
        with self._changed:
            if not attempt.is_stale or attempt in self._stuck or attempt not in self._open:
                return
            self._stuck.add(attempt)
        claim = attempt.claim
        log.warning(
            "Attempt %d of job %s is over, but its task %s does not leave. It is here:\n%s",
            claim.attempt,
            claim.id,
            claim.task,
            attempt.stack(),
        )
