"""`holdfast workers`: who is alive, and whether it takes jobs; directly on the database."""

import socket
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holdfast.cli.loading import database_errors, load_holdfast
from holdfast.cli.spans import span
from holdfast.settings import Settings

if TYPE_CHECKING:
    from holdfast.jobs.workers import WorkerState

app = typer.Typer(help="List and check workers.", invoke_without_command=True)


class Verdict(IntEnum):
    """The exit codes of `check`; 1 is that of every error, as when the database is away, and 2 of misuse."""

    WELL = 0
    NOT_CONSUMING = 3
    NOT_ALIVE = 4


@app.callback()
def list_(context: typer.Context) -> None:
    """List the workers that have lately said that they live."""
    if context.invoked_subcommand is not None:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("name", "host", "pid", "pool", "queues"):
        table.add_column(name, no_wrap=name == "name")
    for name in ("running", "heartbeat", "consuming"):
        table.add_column(name, justify="right")
    for worker in _workers():
        running = f"{worker.running}/{worker.concurrency}"
        facts = (worker.name, worker.host, str(worker.pid), worker.pool, ",".join(worker.queues))
        table.add_row(
            *map(escape, facts), running, f"{span(worker.heartbeat_age_seconds)} ago", _consuming(worker)
        )
    Console().print(table)


@app.command()
def check(
    host: Annotated[
        str | None, typer.Option(help="The workers of this host; of the one it runs on, if no name is given.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The workers whose name begins so.")] = None,
) -> None:
    """Say by the exit code whether workers live and take jobs.

    0: all that were found do. 3: one lives and takes none, as while the broker is away. 4: none lives. 1: it
    cannot be told, as while the database is away.
    """
    wanted = host or (None if name else socket.gethostname())
    found = [
        worker
        for worker in _workers()
        if (wanted is None or worker.host == wanted) and worker.name.startswith(name or "")
    ]
    verdict = _verdict(found)
    for worker in found:
        typer.echo(f"{worker.name}: {'takes jobs' if _is_well(worker) else 'takes no jobs'}")
    if not found:
        typer.echo(f"No worker {name or f'of {wanted}'} has said that it lives.")
    raise typer.Exit(verdict)


def _workers() -> "list[WorkerState]":
    from holdfast.jobs import workers

    with database_errors(), load_holdfast().database.session() as session:
        found = workers.list_workers(session)
    return [worker for worker in found if worker.heartbeat_age_seconds < Settings().lease_seconds]


def _verdict(workers: "list[WorkerState]") -> Verdict:
    if not workers:
        return Verdict.NOT_ALIVE
    return Verdict.WELL if all(map(_is_well, workers)) else Verdict.NOT_CONSUMING


def _is_well(worker: "WorkerState") -> bool:
    # One that ends takes no jobs on purpose.
    return worker.is_consuming or worker.is_stopping


def _consuming(worker: "WorkerState") -> str:
    if worker.is_stopping:
        return "[magenta]stopping[/]"
    return "[green]yes[/]" if worker.is_consuming else "[red]no[/]"
