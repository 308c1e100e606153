"""`holdfast top`: queues, workers and running jobs, live."""

import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.direct import DirectSource, job_source
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.jobs import told_progress
from holdfast.cli.queues import queue_table
from holdfast.cli.showing import AsJson, Direct, as_json, print_json
from holdfast.cli.spans import span
from holdfast.cli.workers import worker_table
from holdfast.errors import RequestRefused
from holdfast.states import JobStatus
from holdfast.terminal import as_text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from holdfast.client import Client
    from holdfast.schemas import JobView, QueueView, WorkerView


@dataclass(frozen=True)
class _Look:
    """How all stands at a time; queues and workers are `None` for a key that may not see them."""

    queues: "list[QueueView] | None"
    workers: "list[WorkerView] | None"
    jobs: "list[JobView]"


def top(
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds from look to look.")] = 2.0,
    jobs: Annotated[int, typer.Option(min=1, max=100, help="How many running jobs.")] = 20,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    direct: Direct = False,
    as_json_: AsJson = False,
) -> None:
    """Show queues, workers and the running jobs, live, until Ctrl-C.

    Through the API it shows the jobs of the key, and queues and workers if the key has the scope `admin`;
    with --direct the jobs of all keys. With --json, or where there is no terminal, it looks once.
    """
    with job_source(direct=direct) as source:
        if as_json_:
            print_json(_told(_look(source, jobs)))
        elif once or not sys.stdout.isatty():
            from rich.console import Console

            Console().print(_screen(_look(source, jobs)))
        else:
            _run(source, jobs, interval)


def _run(source: "Client | DirectSource", jobs: int, interval: float) -> None:
    from rich.live import Live

    try:
        with Live(_screen(_look(source, jobs)), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(_screen(_look(source, jobs)), refresh=True)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.DONE) from None


def _look(source: "Client | DirectSource", jobs: int) -> _Look:
    running = source.list_jobs(status=JobStatus.PROCESSING, limit=jobs).data
    try:
        return _Look(source.list_queues().data, source.list_workers().data, running)
    except RequestRefused as error:
        if error.status != 403:
            raise
        return _Look(None, None, running)


def _told(look: _Look) -> dict[str, object]:
    return {
        "queues": None if look.queues is None else [as_json(queue) for queue in look.queues],
        "workers": None if look.workers is None else [as_json(worker) for worker in look.workers],
        "jobs": [as_json(job) for job in look.jobs],
    }


def _screen(look: _Look) -> "Group":
    from rich.console import Group
    from rich.text import Text

    blank = Text()
    parts = [Text(f"{datetime.now(UTC):%H:%M:%S} UTC", style="dim"), blank]
    if look.queues is None or look.workers is None:
        return Group(
            *parts, Text("Queues and workers are shown to keys of the scope admin."), blank, _jobs(look)
        )
    return Group(*parts, queue_table(look.queues), blank, worker_table(look.workers), blank, _jobs(look))


def _jobs(look: _Look) -> "Table":
    from rich.table import Column, Table

    columns = [Column(name, no_wrap=True) for name in ("running", "task", "attempt", "for", "progress")]
    table = Table(*columns, box=None, pad_edge=False)
    now = datetime.now(UTC)
    for job in look.jobs:
        lasted = span((now - (job.started_at or job.created_at)).total_seconds())
        table.add_row(str(job.id), as_text(job.task), str(job.attempt), lasted, as_text(told_progress(job)))
    return table
