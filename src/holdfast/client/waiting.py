"""Waiting for jobs to end."""

import time
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Final
from uuid import UUID

import httpx
from pydantic import JsonValue

from holdfast.client.bars import Bar, open_bar
from holdfast.client.calls import get_batch, get_job
from holdfast.client.effects import Call, Emit, Pause, Plan
from holdfast.client.exchange import Patience, exchange
from holdfast.client.following import Event, Teller, check_deadline, follow
from holdfast.client.refusals import retry_after
from holdfast.errors import (
    DeadlineExceeded,
    EventsUnavailable,
    Expired,
    HoldfastError,
    JobCancelled,
    JobFailed,
    TimedOut,
)
from holdfast.schemas import BatchView, JobProgress, JobView
from holdfast.states import JobStatus

# How long the API is asked to hold an answer back: well below the patience of what stands between.
HELD_SECONDS: Final = 25
_SLOW_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 1.0
_BATCH_POLL_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
_OF_TIME: Final = {error.code: error for error in (TimedOut, DeadlineExceeded, Expired)}

_STATUSES: Final = {"job.queued": JobStatus.QUEUED, "job.retrying": JobStatus.QUEUED} | {
    f"job.{status}": status for status in JobStatus if status.is_terminal
}


def wait(
    patience: Patience, job_id: UUID, *, timeout: float | None = None, progress: bool = False
) -> Plan[JobView]:
    """The job once it has ended, in whatever way.

    Args:
        patience: for a server that is away.
        job_id: the job.
        timeout: seconds after which to wait no longer; the job goes on. For ever if not given.
        progress: whether to draw a bar, in a terminal or a notebook.

    Raises:
        WaitTimedOut: it has not ended by then.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with open_bar() if progress else nullcontext() as bar:
        if bar is not None:
            # Without events the job is asked for its progress.
            with suppress(EventsUnavailable):
                yield from follow(patience, job_id, _showing(bar), deadline=deadline)
        return (yield from _until_ended(patience, job_id, deadline, bar))


def result(
    patience: Patience, job_id: UUID, *, timeout: float | None = None, progress: bool = False
) -> Plan[JsonValue]:
    """What the job's task returned, once it has ended; see `wait`.

    Raises:
        JobFailed: it has failed, with the code, message and stage of its error.
        TimedOut: each of its attempts took too long; likewise `DeadlineExceeded` and `Expired`.
        JobCancelled: it was cancelled.
        WaitTimedOut: it has not ended in the time that was given.
    """
    job = yield from wait(patience, job_id, timeout=timeout, progress=progress)
    if job.status is not JobStatus.COMPLETED:
        raise failure_of(job)
    return job.result


def wait_for_batch(
    patience: Patience, batch_id: UUID, *, timeout: float | None = None, progress: bool = False
) -> Plan[BatchView]:
    """The batch once all its jobs have ended, in whatever way; see `wait`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pauses = iter(_BATCH_POLL_SECONDS)
    pause = next(pauses)
    with open_bar() if progress else nullcontext() as bar:
        while True:
            batch = yield from exchange(get_batch(batch_id), patience)
            moving = batch.counts.queued + batch.counts.processing
            if bar is not None:
                ended = JobProgress(current=batch.counts.total - moving, total=batch.counts.total)
                bar.show("processing" if moving else "completed", ended)
            if not moving:
                return batch
            check_deadline(deadline)
            yield Pause(_at_most(pause, deadline))
            pause = next(pauses, pause)


def failure_of(job: JobView) -> HoldfastError:
    """Why a job that has ended did not complete."""
    if job.status is JobStatus.CANCELLED or job.error is None:
        return JobCancelled()
    if job.error.code in _OF_TIME:
        return _OF_TIME[job.error.code](job.error.message)
    return JobFailed(job.id, job.error.message, code=job.error.code, stage=job.error.stage)


def _until_ended(patience: Patience, job_id: UUID, deadline: float | None, bar: Bar | None) -> Plan[JobView]:
    while True:
        # A bar has to move: an answer that is held back until the end shows nothing.
        held = None if bar is not None else int(_at_most(HELD_SECONDS, deadline)) or None
        asked = time.monotonic()
        job, pause = yield from exchange(_with_retry_after(job_id, held), patience)
        if bar is not None:
            bar.show(job.status, job.progress)
        if job.status.is_terminal:
            return job
        check_deadline(deadline)
        # An API that does not hold answers back gives this one at once, and says when to come again.
        if held is None or time.monotonic() < asked + held / 2:
            yield Pause(_at_most(pause, deadline))


def _with_retry_after(job_id: UUID, held: int | None) -> Call[tuple[JobView, float]]:
    """The job, and how many seconds to wait before it is asked for again."""
    call = get_job(job_id, wait=held)

    def read(response: httpx.Response) -> tuple[JobView, float]:
        asked = retry_after(response)
        return call.read(response), _POLL_SECONDS if asked is None else asked.total_seconds()

    request = call.request if held is None else replace(call.request, read_seconds=held + _SLOW_SECONDS)
    return Call(request, read)


def _at_most(seconds: float, deadline: float | None) -> float:
    return seconds if deadline is None else max(0.0, min(seconds, deadline - time.monotonic()))


def show_event(bar: Bar, event: Event) -> None:
    """Show on the bar what an event tells of status and progress."""
    if event.job is not None:
        bar.show(event.job.status, event.job.progress)
    elif event.name == "job.progress":
        bar.show(JobStatus.PROCESSING, JobProgress.model_validate(event.data))
    elif event.name.startswith("job."):
        bar.show(_STATUSES.get(event.name, JobStatus.PROCESSING), None)


def _showing(bar: Bar) -> Teller:
    def tell(event: Event) -> Iterable[Emit]:
        show_event(bar, event)
        return ()

    return tell
