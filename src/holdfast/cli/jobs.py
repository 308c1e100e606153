"""`holdfast jobs`: what was asked for, and how far it is."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from holdfast.cli.remote import connected
from holdfast.cli.retrying import retry
from holdfast.cli.whole_jobs import show_whole
from holdfast.settings import Settings
from holdfast.states import JobStatus

POLL_SECONDS = 0.3
COLOURS = {
    "queued": "yellow",
    "processing": "blue",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}

app = typer.Typer(help="List, show, watch, cancel and retry jobs.", no_args_is_help=True)
app.command("retry")(retry)
JobId = Annotated[UUID, typer.Argument(help="The job's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs that stand so.")] = None,
    task: Annotated[str | None, typer.Option(help="Only jobs of this task.")] = None,
    error: Annotated[str | None, typer.Option(help="Only jobs that failed with this code.")] = None,
    batch: Annotated[UUID | None, typer.Option(help="Only jobs of this batch.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connected(Settings()) as remote:
        found = remote.get("/v1/jobs", status=status, task=task, error=error, batch_id=batch, limit=limit)
    console = Console()
    if as_json:
        console.print_json(data=found)
        return
    whole = [Column(name, no_wrap=True) for name in ("id", "task", "status")]
    age = Column("age", justify="right", no_wrap=True, min_width=3)
    # Without lines, a row with a whole id fits into a terminal of 80 columns.
    table = Table(*whole, Column("progress", no_wrap=True), age, box=None, pad_edge=False)
    for job in found["data"]:
        table.add_row(
            job["id"],
            escape(job["task"]),
            coloured(job["status"]),
            _progress(job),
            _age(job["created_at"]),
        )
    console.print(table)


@app.command()
def show(
    job_id: JobId,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="With arguments and tracebacks, from the database itself: the API shows them nobody.",
        ),
    ] = False,
) -> None:
    """Show a job, with its result or error and its attempts."""
    if whole:
        show_whole(job_id, Console())
        return
    with connected(Settings()) as remote:
        job = remote.get(f"/v1/jobs/{job_id}")
        attempts = remote.get(f"/v1/jobs/{job_id}/attempts")["data"]
    Console().print_json(data={**job, "attempts": attempts})


@app.command()
def cancel(job_ids: Annotated[list[UUID], typer.Argument(help="The jobs' ids.")]) -> None:
    """Ask jobs to stop: queued ones at once, processing ones when they notice; others are left alone."""
    with connected(Settings()) as remote:
        for job_id in job_ids:
            job = remote.post(f"/v1/jobs/{job_id}/cancel")
            is_asked = job["status"] == JobStatus.PROCESSING
            Console().print(f"{job_id} {'asked to stop' if is_asked else coloured(job['status'])}")


@app.command()
def watch(job_id: JobId) -> None:
    """Follow a job to its end. Exit code 1: it did not complete."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with connected(Settings()) as remote, Progress(*columns) as progress:
        bar = progress.add_task("queued", total=None, note="")
        while True:
            job = remote.get(f"/v1/jobs/{job_id}")
            shown = job["progress"] or {}
            progress.update(
                bar,
                description=coloured(job["status"]),
                completed=shown.get("current") or 0,
                total=shown.get("total"),
                note=escape(shown.get("message") or ""),
            )
            if JobStatus(job["status"]).is_terminal:
                break
            time.sleep(POLL_SECONDS)
    Console().print_json(data=job["error"] if job["status"] == JobStatus.FAILED else job["result"])
    if job["status"] != JobStatus.COMPLETED:
        raise typer.Exit(1)


def coloured(status: str) -> str:
    """The status in its colour."""
    return f"[{COLOURS[status]}]{status}[/]"


def _age(created_at: str) -> str:
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(0, seconds)}s"


def _progress(job: dict[str, Any]) -> str:
    progress = job["progress"]
    if not progress:
        return ""
    total = progress["total"]
    return f"{progress['current']}/{total}" if total else escape(progress["message"] or "")
