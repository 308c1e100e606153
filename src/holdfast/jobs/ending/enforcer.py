"""The end, by force, of attempts that had to leave and have not: done by the main process of their worker.

Their process may be stuck in a call that nothing gets it out of. The outcome is then written from outside,
the attempt can change nothing any more, and a process of its own is killed.
"""

import logging
import os
import signal
from collections.abc import Callable

from sqlalchemy.orm import Session

from holdfast.errors import UnknownTask
from holdfast.jobs import children
from holdfast.jobs.ending import lateness
from holdfast.jobs.ending.endings import GRACE_SECONDS
from holdfast.jobs.ending.overdue import OverdueAttempt, overdue_attempts
from holdfast.jobs.events import UNWATCHED, EventSink
from holdfast.jobs.outcome import Decision, decide_ending
from holdfast.jobs.process import is_running
from holdfast.jobs.record import record
from holdfast.jobs.registry import Registry
from holdfast.jobs.workers import Worker
from holdfast.retry import RetryPolicy

log = logging.getLogger(__name__)

BATCH = 100
_DID_NOT_LEAVE = f"The task did not leave within {GRACE_SECONDS:.0f} seconds; this was written without it.\n"


class Enforcer:
    """Ends what is overdue: attempts of this worker that do not leave, and jobs that wait past their time.

    Args:
        worker: whose attempts they are.
        tasks: by whose policies an attempt that timed out is retried.
        on_end: told of a job's id and what was decided of it, before the process that has it is killed.
        sink: told of the jobs once that is written.
    """

    def __init__(
        self,
        worker: Worker,
        tasks: Registry,
        on_end: Callable[[str, Decision], object],
        sink: EventSink = UNWATCHED,
    ) -> None:
        self._worker = worker
        self._sink = sink
        self._tasks = tasks
        self._on_end = on_end

    def round(self, session: Session) -> None:
        """End all there is to end, in short transactions of its own; raises `SQLAlchemyError`."""
        with session.begin():
            ended = lateness.end_late(session, limit=BATCH)
            overdue = overdue_attempts(session, worker=self._worker.name)
        if ended:
            self._sink.look_at(ended)
            log.warning("Ended %d jobs that were not started in time: %s", len(ended), ended)
        for attempt in overdue:
            self._end(session, attempt)

    def _end(self, session: Session, attempt: OverdueAttempt) -> None:
        claim, process = attempt.claim, attempt.process
        decision = decide_ending(
            attempt.ending, _DID_NOT_LEAVE, claim, self._policy(claim.task), deadline_left=claim.deadline_left
        )
        with session.begin():
            if not record(session, claim, decision, None):
                return
            children.cancel_orphans(session, [claim.id])
            self._on_end(str(claim.id), decision)
            # Before the commit: until then the row is locked, so that the process cannot have gone on to
            # another job.
            if process != os.getpid() and is_running(process):
                os.kill(process, signal.SIGKILL)
        self._sink.look_at([claim.id])
        log.warning(
            "Attempt %d of job %s (%s) was ended by force (%s); process %d %s",
            claim.attempt,
            claim.id,
            claim.task,
            attempt.ending,
            process,
            "goes on with it" if process == os.getpid() else "was killed",
        )

    def _policy(self, task: str) -> RetryPolicy:
        try:
            return self._tasks[task].options.retry
        except UnknownTask:
            return RetryPolicy()
