"""One delivery, start to end: claim, run, decide, record.

No transaction is open while user code runs. Nothing here knows Celery: a carrier calls `run` and reads what
was decided.
"""

import logging
import os
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DataError, OperationalError

from holdfast.errors import PermanentError
from holdfast.jobs import children, store
from holdfast.jobs.bodies import LoopBody, ThreadBody
from holdfast.jobs.context import JobContext
from holdfast.jobs.database import Database
from holdfast.jobs.delivery import sending
from holdfast.jobs.ending.stopping import Stage, StopSign, Timetable
from holdfast.jobs.ending.warden import Warden
from holdfast.jobs.events import UNWATCHED, EventSink
from holdfast.jobs.groups import deciding
from holdfast.jobs.loop import process_loop
from holdfast.jobs.outcome import (
    Abandon,
    Complete,
    Decision,
    Fail,
    Outcome,
    Raised,
    RetryLater,
    Succeeded,
    decide,
    event_of,
)
from holdfast.jobs.patience import patiently, reason
from holdfast.jobs.process import PerProcess
from holdfast.jobs.record import record
from holdfast.jobs.reporter import Reporter, Watcher
from holdfast.jobs.running import Begin, RunningAttempt
from holdfast.jobs.steps.writer import StepWriter
from holdfast.jobs.task import Task
from holdfast.jobs.waking import wake_after
from holdfast.jobs.workers import Worker

log = logging.getLogger(__name__)

# A claim may fail quickly, its message or the relay brings the job back. A result is worth any wait, and
# while PostgreSQL is away this slot could do nothing else.
CLAIM_PATIENCE = timedelta(seconds=5)
RECORD_PATIENCE = timedelta(days=1)


class Runner:
    """Runs jobs in this process and its forked children.

    Args:
        database: where the jobs are.
        watcher: told the newest progress by job id; deals with its own failures.
        sign: how far the shutdown of the worker is; nothing is started once that has begun.
        timetable: of that shutdown.
        sink: told of what becomes of jobs.

    Attributes:
        claims: of jobs that were claimed before they are run, by the job's id.
    """

    def __init__(
        self,
        database: Database,
        watcher: Watcher,
        sign: StopSign | None = None,
        timetable: Timetable | None = None,
        sink: EventSink = UNWATCHED,
    ) -> None:
        self.database = database
        self.sink = sink
        self.sign = sign = sign or StopSign()
        self.claims: dict[str, store.Claim] = {}
        self.reporter = PerProcess(lambda: Reporter(database, watcher, self.claims, sink))
        self.warden = PerProcess(lambda: Warden(sign, timetable or Timetable()))
        self.step_writer = PerProcess(lambda: StepWriter(database))
        self._loop = process_loop

    def run(
        self,
        task: Task[..., Any],
        job_id: UUID,
        worker: Worker,
        claim: store.Claim | None = None,
        begin: Begin | None = None,
    ) -> Decision | None:
        """Run a job of this task if it is there to be run, or was claimed for this process already.

        `begin` is called once the job is claimed.

        Returns what was decided and written. `None`: there was nothing to claim, or the worker shuts down.
        `Abandon`: the attempt lost the job on the way, and nothing was written.

        Raises:
            DatabaseUnavailable: PostgreSQL stayed away; the job is given back when it returns.
        """
        if self.sign.stage is not Stage.RUNNING:
            self.decline(job_id) if claim is None else self.give_back(claim)
            return None
        with self.reporter.get().in_hand(job_id, worker):
            if claim is None:
                claim = patiently(lambda: self._claim(job_id, worker), patience=CLAIM_PATIENCE)
            if claim is None:
                log.debug("Nothing to do for job %s", job_id)
                return None
            running = RunningAttempt(claim)
            if begin is not None:
                begin(running)
            return self.record(task, running, self.decide(task, running, self._execute(task, running)))

    def decline(self, job_id: UUID) -> None:
        """Let others have a job whose message this worker was given."""

        def mark_unsent() -> None:
            with self.database.transaction() as session:
                sending.mark_unsent(session, [job_id])

        patiently(mark_unsent, patience=CLAIM_PATIENCE)

    def cancel(self, job_id: UUID) -> None:
        """Cancel a job, as whoever owns it may."""

        def cancel() -> None:
            with self.database.transaction() as session:
                store.cancel(session, job_id)

        patiently(cancel, patience=CLAIM_PATIENCE)
        self.sink.look_at([job_id])

    def give_back(self, claim: store.Claim) -> None:
        """Let others have a job that was claimed for this process and is not begun."""

        def hand_back() -> None:
            with self.database.transaction() as session:
                store.hand_back(session, claim.id, claim.attempt)

        patiently(hand_back, patience=CLAIM_PATIENCE)

    def record(self, task: Task[..., Any], running: RunningAttempt, decision: Decision) -> Decision:
        """Write what was decided, however long PostgreSQL is away; returns what was written."""
        try:
            return patiently(lambda: self._record(task, running, decision), patience=RECORD_PATIENCE)
        except (DataError, OperationalError) as error:
            # What only PostgreSQL could find: the result is too large for it, say. It will not shrink.
            refused = self.decide(task, running, Raised(PermanentError(reason(error), code="invalid_result")))
            return patiently(lambda: self._record(task, running, refused), patience=RECORD_PATIENCE)

    def _claim(self, job_id: UUID, worker: Worker) -> store.Claim | None:
        with self.database.statement() as connection:
            return store.claim(
                connection, job_id, worker=worker.name, process=os.getpid(), lease=worker.lease
            )

    def _execute(self, task: Task[..., Any], running: RunningAttempt) -> Outcome:
        reporter, warden = self.reporter.get(), self.warden.get()
        reporter.open(running)
        warden.open(running)
        try:
            return Succeeded(task.dump_result(self._call(task, running)))
        # The one place that catches everything: user code may raise anything, and whatever it raises is
        # this job's error, not the worker's end.
        except BaseException as exception:
            if _is_meant_for_the_process(exception, task):
                raise
            return Raised(deciding(exception))
        finally:
            warden.close(running)
            reporter.close(running)

    def _call(self, task: Task[..., Any], running: RunningAttempt) -> object:
        context = JobContext(running, self.database, self.step_writer.get)
        arguments = task.load_arguments(running.claim.args)
        with context.at_work():
            if not task.is_async:
                thread_body = ThreadBody()
                running.begin(thread_body)
                return thread_body.run(lambda: task.function(context, **arguments))
            loop_body = LoopBody(f"{task.name}[{running.claim.id}]")
            running.begin(loop_body)
            return loop_body.run_on(self._loop, lambda: task.function(context, **arguments))

    def decide(self, task: Task[..., Any], running: RunningAttempt, outcome: Outcome) -> Decision:
        """What to write of an attempt that ended so; what went wrong is told in the log."""
        decision = decide(
            outcome,
            running.claim,
            task.options.retry,
            ending=running.ending,
            deadline_left=running.deadline_left,
        )
        if isinstance(decision, Fail | RetryLater):
            log.warning("Job %s: %s\n%s", running.claim.id, decision.error, decision.traceback)
        return decision

    def _record(self, task: Task[..., Any], running: RunningAttempt, decision: Decision) -> Decision:
        claim = running.claim
        if isinstance(decision, Complete):
            with self.database.statement() as connection:
                held = store.complete(connection, claim, decision.result, running.progress)
        else:
            with self.database.transaction() as session:
                held = record(session, claim, decision, running.progress)
                if held:
                    children.cancel_orphans(session, [claim.id])
        return self.recorded(task, claim, decision, held=held)

    def recorded(
        self, task: Task[..., Any], claim: store.Claim, decision: Decision, *, held: bool
    ) -> Decision:
        """What there is to do after the write, which was refused if the attempt does not hold its job."""
        if not held:
            log.info("Job %s has moved on from attempt %d; its outcome is dropped", claim.id, claim.attempt)
            return Abandon()
        self.sink.tell(claim, event_of(decision))
        wake_after(self.database, task.outbox, claim, decision)
        return decision


def _is_meant_for_the_process(exception: BaseException, task: Task[..., Any]) -> bool:
    """Whether it is Ctrl-C, which Python raises in the main thread; elsewhere it is the task's own doing."""
    is_in_main = threading.current_thread() is threading.main_thread()
    return isinstance(exception, KeyboardInterrupt) and is_in_main and not task.is_async
