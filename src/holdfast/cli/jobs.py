"""`holdfast jobs`: what was asked for, and how far it is."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from holdfast.cli.direct import job_source
from holdfast.cli.retrying import retry
from holdfast.cli.showing import AsJson, Direct, as_json, coloured, print_json
from holdfast.cli.spans import span
from holdfast.cli.watching import watch
from holdfast.states import JobStatus
from holdfast.terminal import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.schemas import JobView

app = typer.Typer(help="List, show, watch, cancel and retry jobs.", no_args_is_help=True)
JobId = Annotated[UUID, typer.Argument(help="The job's id.")]


@app.command("list")
def list_(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs that stand so.")] = None,
    task: Annotated[str | None, typer.Option(help="Only jobs of this task.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only jobs of this queue.")] = None,
    error: Annotated[str | None, typer.Option(help="Only jobs that failed with this code.")] = None,
    batch: Annotated[UUID | None, typer.Option(help="Only jobs of this batch.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 20,
    direct: Direct = False,
    as_json_: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with job_source(direct=direct) as source:
        found = source.list_jobs(
            limit=limit, status=status, task=task, queue=queue, error=error, batch_id=batch
        )
    if as_json_:
        print_json(as_json(found))
    else:
        _show_table(found.data)


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
    direct: Direct = False,
    as_json_: AsJson = False,
) -> None:
    """Show a job, with its result or error and its attempts, as JSON."""
    if whole:
        from holdfast.cli.whole_jobs import show_whole

        show_whole(job_id, as_json=as_json_)
        return
    with job_source(direct=direct) as source:
        job, attempts = source.get_job(job_id), source.list_attempts(job_id)
    print_json({**as_json(job), "attempts": as_json(attempts)["data"]})


@app.command()
def cancel(
    job_ids: Annotated[list[UUID], typer.Argument(help="The jobs' ids.")],
    direct: Direct = False,
    as_json_: AsJson = False,
) -> None:
    """Ask jobs to stop: queued ones at once, processing ones when they notice; others are left alone."""
    from rich.console import Console

    cancelled = []
    with job_source(direct=direct) as source:
        for job_id in job_ids:
            cancelled.append(job := source.cancel_job(job_id))
            if not as_json_:
                is_asked = job.status is JobStatus.PROCESSING
                Console().print(f"{job_id} {'asked to stop' if is_asked else coloured(job.status)}")
    if as_json_:
        print_json({"data": [as_json(job) for job in cancelled]})


app.command("watch")(watch)
app.command("retry")(retry)


def _show_table(jobs: "Iterable[JobView]") -> None:
    from rich.console import Console
    from rich.table import Column, Table

    whole = [Column(name, no_wrap=True) for name in ("id", "task", "status")]
    age = Column("age", justify="right", no_wrap=True, min_width=3)
    # Without lines, a row with a whole id fits into a terminal of 80 columns.
    table = Table(*whole, Column("progress", no_wrap=True), age, box=None, pad_edge=False)
    now = datetime.now(UTC)
    for job in jobs:
        waited = span((now - job.created_at).total_seconds())
        table.add_row(
            str(job.id), as_text(job.task), coloured(job.status), as_text(told_progress(job)), waited
        )
    Console().print(table)


def told_progress(job: "JobView") -> str:
    """How far the job is, in few words."""
    progress = job.progress
    if progress is None:
        return ""
    return f"{progress.current}/{progress.total}" if progress.total else progress.message or ""
