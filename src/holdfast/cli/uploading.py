"""Uploading many files and watching them being ingested, a bar for each."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from holdfast.cli.remote import Remote, RequestRefused
from holdfast.states import JobStatus

# Files that are followed at a time; the next upload waits until one of them has ended.
IN_FLIGHT = 16
POLL_SECONDS = 0.2


def ingest_files(remote: Remote, files: Mapping[str, Path], collection: str, console: Console) -> int:
    """Upload files by name and follow their jobs to the end; returns how many could not be ingested."""
    with _progress(console) as progress:
        watch = _Watch(remote, progress, len(files))
        for name, path in files.items():
            while watch.is_full:
                watch.look()
            watch.upload(name, path, collection)
        while not watch.is_empty:
            watch.look()
    return watch.failures


class _Watch:
    """The jobs that are under way, each with its bar."""

    def __init__(self, remote: Remote, progress: Progress, total: int) -> None:
        self._remote = remote
        self._progress = progress
        self._overall = progress.add_task("[bold]documents", total=total, note="")
        self._bars: dict[str, tuple[str, TaskID]] = {}
        self.failures = 0

    @property
    def is_full(self) -> bool:
        return len(self._bars) >= IN_FLIGHT

    @property
    def is_empty(self) -> bool:
        return not self._bars

    def upload(self, name: str, path: Path, collection: str) -> None:
        try:
            accepted = self._remote.upload(path, collection, name=name)
        except RequestRefused as error:
            self._fail(name, error.code, error.message)
            return
        bar = self._progress.add_task(escape(name), total=None, note="queued")
        self._bars[accepted["job_id"]] = (name, bar)

    def look(self) -> None:
        time.sleep(POLL_SECONDS)
        for job_id, (name, bar) in list(self._bars.items()):
            job = self._remote.get(f"/v1/jobs/{job_id}")
            self._draw(bar, job)
            if JobStatus(job["status"]).is_terminal:
                self._end(name, job)
                self._progress.remove_task(bar)
                del self._bars[job_id]

    def _draw(self, bar: TaskID, job: dict[str, Any]) -> None:
        progress = job["progress"] or {}
        self._progress.update(
            bar,
            completed=progress.get("current") or 0,
            total=progress.get("total"),
            note=escape(progress.get("message") or job["status"]),
        )

    def _end(self, name: str, job: dict[str, Any]) -> None:
        if job["status"] != JobStatus.COMPLETED:
            error = job["error"] or {"code": job["status"], "message": "The job was cancelled."}
            self._fail(name, error["code"], error["message"])
            return
        result = job["result"]
        what = "unchanged" if result["unchanged"] else f"{result['chunks']} chunks"
        self._progress.print(f"[green]✓[/] {escape(name)} [dim]{what}[/]", highlight=False)
        self._progress.advance(self._overall)

    def _fail(self, name: str, code: str, message: str) -> None:
        self.failures += 1
        self._progress.print(f"[red]✗[/] {escape(name)} [red]{code}[/] {escape(message)}", highlight=False)
        self._progress.advance(self._overall)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
    )
