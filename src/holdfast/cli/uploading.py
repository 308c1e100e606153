"""Uploading many files and watching them being ingested, a bar for each."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.progress import Progress, TaskID

from holdfast.cli.remote import PATIENCE_SECONDS
from holdfast.client import Client
from holdfast.client.bars import terminal_progress
from holdfast.errors import ApiUnreachable, ConfigurationError, HoldfastError
from holdfast.schemas import JobView
from holdfast.states import JobStatus
from holdfast.terminal import as_text

# Files that are followed at a time; the next upload waits until one of them has ended.
IN_FLIGHT = 16
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Ingested:
    """What became of a file: the job that has ended, or the error that it was refused with."""

    name: str
    job: JobView | None
    error: HoldfastError | None

    @property
    def is_done(self) -> bool:
        """Whether it can be searched."""
        return self.job is not None and self.job.status is JobStatus.COMPLETED


def ingest_files(
    client: Client, files: Mapping[str, Path], collection: str, console: Console
) -> list[Ingested]:
    """Upload files by name and follow their jobs to the end."""
    with terminal_progress(console) as progress:
        watch = _Watch(client, progress, len(files))
        for name, path in files.items():
            while watch.is_full:
                watch.look()
            watch.upload(name, path, collection)
        while not watch.is_empty:
            watch.look()
    return watch.ended


class _Watch:
    """The jobs that are under way, each with its bar."""

    def __init__(self, client: Client, progress: Progress, total: int) -> None:
        self._client = client
        self._progress = progress
        self._overall = progress.add_task("[bold]documents", total=total, note="")
        self._bars: dict[UUID, tuple[str, TaskID]] = {}
        self.ended: list[Ingested] = []

    @property
    def is_full(self) -> bool:
        return len(self._bars) >= IN_FLIGHT

    @property
    def is_empty(self) -> bool:
        return not self._bars

    def upload(self, name: str, path: Path, collection: str) -> None:
        try:
            job = self._client.ingest(path, collection, name=name)
        except (ApiUnreachable, ConfigurationError):
            raise
        except HoldfastError as error:
            self._end(Ingested(name, None, error))
            return
        # It is there, so that it is worth waiting for.
        self._client.patience = PATIENCE_SECONDS
        bar = self._progress.add_task(as_text(name), total=None, note="queued")
        self._bars[job.id] = (name, bar)

    def look(self) -> None:
        time.sleep(POLL_SECONDS)
        for job_id, (name, bar) in list(self._bars.items()):
            job = self._client.get_job(job_id)
            self._draw(bar, job)
            if job.status.is_terminal:
                self._end(Ingested(name, job, None))
                self._progress.remove_task(bar)
                del self._bars[job_id]

    def _draw(self, bar: TaskID, job: JobView) -> None:
        progress = job.progress
        if progress is None:
            self._progress.update(bar, note=job.status)
        else:
            note = as_text(progress.message or job.status)
            self._progress.update(bar, completed=progress.current, total=progress.total, note=note)

    def _end(self, ingested: Ingested) -> None:
        self.ended.append(ingested)
        name = as_text(ingested.name)
        if ingested.is_done:
            self._progress.print(f"[green]✓[/] {name} [dim]{_what(ingested)}[/]", highlight=False)
        else:
            code, message = reason_of(ingested)
            self._progress.print(f"[red]✗[/] {name} [red]{code}[/] {as_text(message)}", highlight=False)
        self._progress.advance(self._overall)


def reason_of(ingested: Ingested) -> tuple[str, str]:
    """Why it cannot be searched: a code and a message."""
    if ingested.error is not None:
        return ingested.error.code, ingested.error.message
    if ingested.job is None or ingested.job.error is None:
        return JobStatus.CANCELLED, "The job was cancelled."
    return ingested.job.error.code, ingested.job.error.message


def _what(ingested: Ingested) -> str:
    result: Any = None if ingested.job is None else ingested.job.result
    return "unchanged" if result["unchanged"] else f"{result['chunks']} chunks"
