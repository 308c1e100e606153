"""One delivery, start to end: claim, run, decide, record.

No transaction is open while user code runs. Nothing here knows Celery: a carrier calls `run` and reads what
was decided.
"""

import asyncio
import logging
import os
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DataError, OperationalError

from holdfast.errors import PermanentError
from holdfast.jobs import children, store
from holdfast.jobs.context import JobContext
from holdfast.jobs.database import Database
from holdfast.jobs.groups import deciding
from holdfast.jobs.loop import LoopThread
from holdfast.jobs.outcome import (
    Abandon,
    Complete,
    Decision,
    Fail,
    HandBack,
    Outcome,
    Raised,
    RetryLater,
    Stop,
    Succeeded,
    Suspend,
    Suspension,
    decide,
)
from holdfast.jobs.patience import patiently, reason
from holdfast.jobs.process import PerProcess
from holdfast.jobs.reporter import Reporter, Watcher
from holdfast.jobs.running import RunningAttempt
from holdfast.jobs.step_writer import StepWriter
from holdfast.jobs.task import Task
from holdfast.jobs.waking import wake_after
from holdfast.jobs.workers import Worker

log = logging.getLogger(__name__)

# A claim may fail quickly, its message or the relay brings the job back. A result is worth any wait, and
# while PostgreSQL is away this slot could do nothing else.
CLAIM_PATIENCE = timedelta(seconds=5)
RECORD_PATIENCE = timedelta(days=1)


class Runner:
    """Runs jobs in this process and its forked children."""

    def __init__(self, database: Database, watcher: Watcher) -> None:
        self._database = database
        self._reporter = PerProcess(lambda: Reporter(database, watcher))
        self._step_writer = PerProcess(lambda: StepWriter(database))
        self._loop = LoopThread()

    def run(self, task: Task[..., Any], job_id: UUID, worker: Worker) -> Decision | None:
        """Run a job of this task if it is there to be run.

        Returns what was decided and written. `None`: there was nothing to claim. `Abandon`: the attempt lost
        the job on the way, and nothing was written.

        Raises:
            DatabaseUnavailable: PostgreSQL stayed away; the job is given back when it returns.
        """
        with self._reporter.get().in_hand(job_id, worker):
            return self._run(task, job_id, worker)

    def _run(self, task: Task[..., Any], job_id: UUID, worker: Worker) -> Decision | None:
        claim = patiently(lambda: self._claim(job_id, worker), patience=CLAIM_PATIENCE)
        if claim is None:
            log.debug("Nothing to do for job %s", job_id)
            return None
        running = RunningAttempt(claim)
        outcome = self._execute(task, running)
        decision = decide(outcome, claim, task.options.retry, cancel_requested=running.stop_requested)
        if isinstance(decision, Fail | RetryLater):
            log.warning("Job %s: %s\n%s", job_id, decision.error, decision.traceback)
        try:
            return patiently(lambda: self._record(task, running, decision), patience=RECORD_PATIENCE)
        except (DataError, OperationalError) as error:
            # What only PostgreSQL could find: the result is too large for it, say. It will not shrink.
            refused = Raised(PermanentError(reason(error), code="invalid_result"))
            decision = decide(refused, claim, task.options.retry, cancel_requested=False)
            return patiently(lambda: self._record(task, running, decision), patience=RECORD_PATIENCE)

    def _claim(self, job_id: UUID, worker: Worker) -> store.Claim | None:
        with self._database.transaction() as session:
            return store.claim(session, job_id, worker=worker.name, process=os.getpid(), lease=worker.lease)

    def _execute(self, task: Task[..., Any], running: RunningAttempt) -> Outcome:
        context = JobContext(running, self._database, self._step_writer.get)
        reporter = self._reporter.get()
        reporter.open(running)
        try:
            arguments = task.load_arguments(running.claim.args)
            with context.at_work():
                if task.is_async:
                    value = self._run_on_loop(_await(task, context, running, arguments))
                else:
                    value = task.function(context, **arguments)
            return Succeeded(task.dump_result(value))
        # The one place that catches everything: user code may raise anything, and whatever it raises is
        # this job's error, not the worker's end. A KeyboardInterrupt is meant for the worker, and passes.
        except (  # noqa: BLE001
            Exception,
            BaseExceptionGroup,
            SystemExit,
            Suspension,
            CancelledError,
            asyncio.CancelledError,
        ) as exception:
            return Raised(deciding(exception))
        finally:
            reporter.close(running)

    def _run_on_loop(self, coroutine: Coroutine[Any, Any, object]) -> object:
        future = self._loop.submit(coroutine)
        try:
            return future.result()
        finally:
            # What is raised here, and not by the task, is a time limit; the task must not outlive it.
            future.cancel()

    def _record(self, task: Task[..., Any], running: RunningAttempt, decision: Decision) -> Decision:
        claim, progress = running.claim, running.progress
        with self._database.transaction() as session:
            match decision:
                case Complete(result):
                    held = store.complete(session, claim, result, progress)
                case Fail(error, trace):
                    held = store.fail(session, claim, error, progress, traceback=trace)
                case RetryLater(error, trace, delay):
                    held = store.retry_later(session, claim, error, delay, traceback=trace)
                case Stop():
                    held = store.stop(session, claim, progress)
                case HandBack():
                    held = store.hand_back(session, claim.id, claim.attempt, progress)
                case Suspend(awaited_ids, wakes_on_failure):
                    held = store.suspend(
                        session, claim, awaited_ids, progress, wakes_on_failure=wakes_on_failure
                    )
                case Abandon():
                    held = False
            if held and not isinstance(decision, Complete):
                children.cancel_orphans(session, [claim.id])
        if not held:
            log.info("Job %s has moved on from attempt %d; its outcome is dropped", claim.id, claim.attempt)
            return Abandon()
        wake_after(self._database, task.outbox, claim, decision)
        return decision


async def _await(
    task: Task[..., Any], context: JobContext, running: RunningAttempt, arguments: dict[str, Any]
) -> object:
    """Run the coroutine as an asyncio task of its own, which a stop sign cancels."""
    loop, current = asyncio.get_running_loop(), asyncio.current_task()
    assert current is not None  # noqa: S101 - we are in a coroutine
    running.on_stop = lambda: loop.call_soon_threadsafe(current.cancel)
    context.check_cancelled()  # the sign may have come before
    return await task.function(context, **arguments)
