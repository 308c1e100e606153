"""`holdfast jobs watch`: a job followed to its end, with what it says meanwhile."""

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Protocol
from uuid import UUID

import typer

from holdfast.cli.direct import DirectSource, job_source
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.remote import PATIENCE_SECONDS
from holdfast.cli.showing import AsJson, Direct, as_json, print_json, print_line
from holdfast.errors import EventsUnavailable, WaitTimedOut
from holdfast.states import JobStatus
from holdfast.terminal import without_controls

if TYPE_CHECKING:
    from holdfast.client import Client, Event
    from holdfast.schemas import JobView

POLL_SECONDS = 0.3
_CODES = {
    JobStatus.COMPLETED: ExitCode.DONE,
    JobStatus.FAILED: ExitCode.NOT_WELL,
    JobStatus.CANCELLED: ExitCode.GONE,
}


def watch(
    job_id: Annotated[UUID, typer.Argument(help="The job's id.")],
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which to watch no longer.")
    ] = None,
    direct: Direct = False,
    as_json_: AsJson = False,
) -> None:
    """Follow a job to its end: a bar and what is said on stderr, streamed text and the result on stdout.

    With --json each event is a line of JSON, and the job as it has ended is the last.

    Exit code 0: it completed. 3: it failed. 4: it was cancelled. 5: it has not ended by the timeout.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    shown: _Display = _Lines() if as_json_ else _Screen()
    try:
        with job_source(direct=direct) as source:
            job = _watched(source, job_id, shown, deadline)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        shown.close()
    shown.end(job)
    raise typer.Exit(_CODES.get(job.status, ExitCode.NOT_YET))


class _Display(Protocol):
    def event(self, event: "Event") -> None: ...
    def job(self, job: "JobView") -> None: ...
    def close(self) -> None: ...
    def end(self, job: "JobView") -> None: ...


class _Lines:
    """For programs."""

    def event(self, event: "Event") -> None:
        print_line({"id": event.id, "event": event.name, "data": event.data})

    def job(self, job: "JobView") -> None:
        """Only events are told, and the end."""

    def close(self) -> None:
        """Each line is whole."""

    def end(self, job: "JobView") -> None:
        print_line(as_json(job))


class _Screen:
    """For people: a bar until the job streams text, and then the text."""

    def __init__(self) -> None:
        from holdfast.client.bars import TerminalBar, terminal_progress

        self._progress = terminal_progress()
        self._progress.start()
        self._bar = TerminalBar(self._progress)
        self._is_streaming = False

    def event(self, event: "Event") -> None:
        from holdfast.client.waiting import show_event

        if event.name == "output.delta":
            self._write(str(event.data.get("text", "")))
        else:
            show_event(self._bar, event)

    def job(self, job: "JobView") -> None:
        self._bar.show(job.status, job.progress)

    def close(self) -> None:
        self._progress.stop()
        if self._is_streaming:
            typer.echo()
            self._is_streaming = False

    def end(self, job: "JobView") -> None:
        print_json(as_json(job)["error" if job.status is JobStatus.FAILED else "result"])

    def _write(self, text: str) -> None:
        # A bar that is drawn anew would write over a line that is not whole.
        self._progress.stop()
        self._is_streaming = True
        sys.stdout.write(without_controls(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()


def _watched(
    source: "Client | DirectSource", job_id: UUID, shown: _Display, deadline: float | None
) -> "JobView":
    """The job once it has ended, or when the deadline has come."""
    job = source.get_job(job_id)
    shown.job(job)
    if not isinstance(source, DirectSource) and not job.status.is_terminal:
        # It was there, so that it is worth waiting for.
        source.patience = PATIENCE_SECONDS
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        # Where the API has no events, the job is looked at.
        with suppress(EventsUnavailable, WaitTimedOut):
            for event in source.job(job_id).events(timeout=left):
                shown.event(event)
    while True:
        job = source.get_job(job_id)
        shown.job(job)
        if job.status.is_terminal or (deadline is not None and time.monotonic() >= deadline):
            return job
        time.sleep(POLL_SECONDS)
