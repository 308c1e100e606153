"""Jobs of `async def` tasks where code runs on the event loop itself: `Runner` without a thread for each.

Claims and completions of all that run at the same time are grouped. What happens more seldom, a failure or a
wait, is written one by one, in a thread.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from holdfast.jobs import grouped
from holdfast.jobs.bodies import LoopBody
from holdfast.jobs.context import JobContext
from holdfast.jobs.database import Database
from holdfast.jobs.ending.stopping import Stage
from holdfast.jobs.events import COMPLETED
from holdfast.jobs.grouped import Completion, Holder
from holdfast.jobs.grouping import Grouped
from holdfast.jobs.groups import deciding
from holdfast.jobs.outcome import Complete, Decision, Outcome, Raised, Succeeded
from holdfast.jobs.patience import patiently, reason
from holdfast.jobs.process import PerProcess
from holdfast.jobs.runner import CLAIM_PATIENCE, RECORD_PATIENCE, Runner
from holdfast.jobs.running import Begin, RunningAttempt
from holdfast.jobs.store import Claim
from holdfast.jobs.task import Task
from holdfast.jobs.workers import Worker

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Apart from those of asyncio and of steps, all of which user code may hold.
_threads = PerProcess(lambda: ThreadPoolExecutor(8, "holdfast-writes"))


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    call = partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_threads.get(), call)


class LoopRunner:
    """Runs jobs on the event loop of this process.

    Args:
        runner: whose parts it shares, and which writes what is not grouped.
        worker: who holds the jobs.
    """

    def __init__(self, runner: Runner, worker: Callable[[], Worker]) -> None:
        self._runner = runner
        self._worker = worker
        # A connection for each, which jobs that hold all others cannot take away.
        self._claiming = Database(lambda: runner.database.url, pool_size=1)
        self._completing = Database(lambda: runner.database.url, pool_size=1)
        self._claims: Grouped[UUID, Claim | None] = Grouped("holdfast-claims", self._claim)
        self._completions: Grouped[Completion, bool] = Grouped("holdfast-completions", self._complete)

    @property
    def holder(self) -> Holder:
        """Who claims in this process."""
        worker = self._worker()
        return Holder(worker.name, os.getpid(), worker.lease)

    def doubt(self) -> None:
        """Look for jobs that this process may have claimed without getting to know of it."""
        self._runner.reporter.get().doubt(self._worker())

    async def run(self, task: Task[..., Any], job_id: UUID, begin: Begin) -> Decision | None:
        """As `Runner.run`; `begin` is called once the job is claimed."""
        if self._runner.sign.stage is not Stage.RUNNING:
            await _in_thread(self._runner.decline, job_id)
            return None
        with self._runner.reporter.get().in_hand(job_id, self._worker()):
            claim = await self._claims.ask(job_id)
            return None if claim is None else await self._run(task, claim, begin)

    async def run_claimed(self, task: Task[..., Any], claim: Claim, begin: Begin) -> Decision | None:
        """As `run`, for a job that this process has claimed."""
        if self._runner.sign.stage is not Stage.RUNNING:
            await _in_thread(self._runner.give_back, claim)
            return None
        with self._runner.reporter.get().in_hand(claim.id, self._worker()):
            return await self._run(task, claim, begin)

    async def _run(self, task: Task[..., Any], claim: Claim, begin: Begin) -> Decision:
        running = RunningAttempt(claim)
        begin(running)
        decision = self._runner.decide(task, running, await self._execute(task, running))
        if not isinstance(decision, Complete):
            return await _in_thread(self._runner.record, task, running, decision)
        try:
            held = await self._completions.ask(Completion(claim, decision.result, running.progress))
        except DBAPIError as error:
            # One of the group cannot be stored: written one by one, it is found which.
            log.warning("Results are written one by one: %s", reason(error))
            return await _in_thread(self._runner.record, task, running, decision)
        if held and claim.parent_id is None:
            self._runner.sink.tell(claim, COMPLETED)
            return decision
        return await _in_thread(self._runner.recorded, task, claim, decision, held=held)

    async def _execute(self, task: Task[..., Any], running: RunningAttempt) -> Outcome:
        reporter, warden = self._runner.reporter.get(), self._runner.warden.get()
        reporter.open(running)
        warden.open(running)
        try:
            return Succeeded(task.dump_result(await self._call(task, running)))
        # As in `Runner`: user code may raise anything, and whatever it raises is this job's error.
        except BaseException as exception:  # noqa: BLE001
            return Raised(deciding(exception))
        finally:
            warden.close(running)
            if running.has_news:
                await _in_thread(reporter.close, running)
            else:
                reporter.close(running)

    async def _call(self, task: Task[..., Any], running: RunningAttempt) -> object:
        claim = running.claim
        context = JobContext(running, self._runner.database, self._runner.step_writer.get)
        arguments = task.load_arguments(claim.args)
        body = LoopBody(f"{claim.task}[{claim.id}]")
        running.begin(body)
        async with context.at_work_async():
            return await body.run(lambda: task.function(context, **arguments))

    def _claim(self, job_ids: Sequence[UUID]) -> list[Claim | None]:
        def claim() -> dict[UUID, Claim]:
            with self._claiming.statement() as connection:
                return grouped.claim(connection, job_ids, self.holder)

        claims = patiently(claim, patience=CLAIM_PATIENCE)
        # Of two messages for one job, the second finds nothing.
        return [claims.pop(job_id, None) for job_id in job_ids]

    def _complete(self, completions: Sequence[Completion]) -> list[bool]:
        def complete() -> list[bool]:
            with self._completing.statement() as connection:
                return grouped.complete(connection, completions)

        return patiently(complete, patience=RECORD_PATIENCE)
