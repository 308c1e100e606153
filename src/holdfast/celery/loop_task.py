"""An `async def` task as the asyncio pool runs it: on the event loop, without Celery's tracer.

What the tracer does is done here, grouped where it can be: signals, the state in the result backend, and what
the worker is told. On any other pool it is a `JobTask` like the others.
"""

import time
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from billiard.einfo import ExceptionInfo
from celery import signals, states
from celery.exceptions import Ignore, Retry

from holdfast.celery.job_task import JobFailed, JobRequest, JobTask
from holdfast.celery.liveness import is_ending
from holdfast.celery.pool import PoolCall
from holdfast.celery.results import CeleryState
from holdfast.jobs.ending.endings import Ending
from holdfast.jobs.loop_runner import LoopRunner
from holdfast.jobs.outcome import Complete, Decision, RetryLater, Stop
from holdfast.jobs.running import RunningAttempt

# A retry that follows sooner may have ended before Celery is told of the failure.
TOLD_WITHIN = timedelta(seconds=1)


class LoopRequest(JobRequest):
    """A delivery whose job the pool claims before it says that it has accepted it."""

    def on_accepted(self, pid: Any, time_accepted: float) -> None:  # noqa: ANN401 - Celery's types are wrong
        """From the claim on the lease stands for the message, which has done what it was for."""
        super().on_accepted(pid, time_accepted)
        if self.task.is_in_pool:
            self.acknowledge()


class LoopTask(JobTask):
    """Runs its jobs on the event loop where the pool has one."""

    Request = LoopRequest
    abstract = True
    is_in_pool = False

    loop_runner: ClassVar[LoopRunner]

    async def run_in_pool(self, call: PoolCall) -> None:
        """Claim and run a job, and tell the worker and Celery's backend how that ended."""
        self.is_in_pool = True
        began = time.monotonic()

        def begin(running: RunningAttempt) -> None:
            self._begin(call, running)

        claim = self.claims.pop(call.id, None)
        if claim is None:
            decision = await self.loop_runner.run(self.definition, UUID(call.id), begin)
        else:
            decision = await self.loop_runner.run_claimed(self.definition, claim, begin)
        self._end(call, decision, time.monotonic() - began)

    def _begin(self, call: PoolCall, running: RunningAttempt) -> None:
        call.leave = lambda _: running.tell(Ending.SHUTDOWN if is_ending() else Ending.CANCELLED)
        if signals.task_prerun.receivers:
            signals.task_prerun.send(sender=self, task_id=call.id, task=self, args=[call.id], kwargs={})
        self.results.get().tell(call.id, CeleryState(states.STARTED))
        call.accept()

    def _end(self, call: PoolCall, decision: Decision | None, seconds: float) -> None:
        if isinstance(decision, Complete):
            self.results.get().tell(call.id, CeleryState(states.SUCCESS, decision.result))
            signals.task_success.send(sender=self, result=decision.result)
            state, traced = str(states.SUCCESS), (0, "", seconds)
        else:
            state, traced = self._end_otherwise(call, decision, seconds)
        if signals.task_postrun.receivers and decision is not None:
            signals.task_postrun.send(
                sender=self, task_id=call.id, task=self, args=[call.id], kwargs={}, retval=None, state=state
            )
        call.end(traced)

    def _end_otherwise(
        self, call: PoolCall, decision: Decision | None, seconds: float
    ) -> tuple[str, tuple[int, Any, float]]:
        args: dict[str, Any] = {"sender": self, "task_id": call.id, "args": [call.id], "kwargs": {}}
        self.results.get().forget(call.id)
        state: str
        try:
            self._leave(decision)
        except JobFailed as error:
            state, info = states.FAILURE, ExceptionInfo()
            self.results.get().tell(call.id, CeleryState(state, error))
            signals.task_failure.send(exception=error, traceback=error.__traceback__, einfo=info, **args)
        except Retry as error:
            state, info = states.RETRY, ExceptionInfo()
            if isinstance(decision, RetryLater) and decision.delay > TOLD_WITHIN:
                self.results.get().tell(call.id, CeleryState(state, error))
            signals.task_retry.send(sender=self, request=None, reason=error, einfo=info)
        except Ignore:
            state, info = states.IGNORED, ExceptionInfo()
            if isinstance(decision, Stop):
                state = states.REVOKED
                self.results.get().tell(call.id, CeleryState(state))
        return state, (1, info, seconds)
