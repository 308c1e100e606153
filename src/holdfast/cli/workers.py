"""`holdfast workers`: who is alive, and whether it takes jobs."""

import socket
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.direct import operators_source
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.showing import AsJson, Remote, as_json, print_json
from holdfast.cli.spans import span
from holdfast.terminal import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from holdfast.schemas import WorkerView

app = typer.Typer(help="List and check workers.", invoke_without_command=True)


@app.callback()
def list_(context: typer.Context, remote: Remote = False, as_json_: AsJson = False) -> None:
    """List the workers that have lately said that they live."""
    if context.invoked_subcommand is not None:
        return
    found = _workers(remote=remote)
    if as_json_:
        print_json({"data": [as_json(worker) for worker in found]})
        return
    from rich.console import Console

    Console().print(worker_table(found))


@app.command()
def check(
    host: Annotated[
        str | None, typer.Option(help="The workers of this host; of the one it runs on, if no name is given.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The workers whose name begins so.")] = None,
    remote: Remote = False,
    as_json_: AsJson = False,
) -> None:
    """Say by the exit code whether workers live and take jobs.

    0: all that were found do. 3: one lives and takes none, as while the broker is away. 4: none lives. 1: it
    cannot be told, as while the database is away.
    """
    wanted = host or (None if name else socket.gethostname())
    found = [
        worker
        for worker in _workers(remote=remote)
        if (wanted is None or worker.host == wanted) and worker.name.startswith(name or "")
    ]
    verdict = _verdict(found)
    if as_json_:
        print_json({"data": [as_json(worker) for worker in found]})
        raise typer.Exit(verdict)
    for worker in found:
        typer.echo(f"{worker.name}: {'takes jobs' if _is_well(worker) else 'takes no jobs'}")
    if not found:
        typer.echo(f"No worker {name or f'of {wanted}'} has said that it lives.")
    raise typer.Exit(verdict)


def worker_table(workers: "Iterable[WorkerView]") -> "Table":
    """Workers as a table."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("name", "host", "pid", "pool", "queues"):
        table.add_column(name, no_wrap=name == "name")
    for name in ("running", "heartbeat", "consuming"):
        table.add_column(name, justify="right")
    for worker in workers:
        running = f"{worker.running}/{worker.concurrency}"
        facts = (worker.name, worker.host, str(worker.pid), worker.pool, ",".join(worker.queues))
        table.add_row(
            *map(as_text, facts), running, f"{span(worker.heartbeat_age_seconds)} ago", _consuming(worker)
        )
    return table


def _workers(*, remote: bool) -> "list[WorkerView]":
    from holdfast.settings import Settings

    with operators_source(remote=remote) as source:
        found = source.list_workers().data
    return [worker for worker in found if worker.heartbeat_age_seconds < Settings().lease_seconds]


def _verdict(workers: "list[WorkerView]") -> ExitCode:
    if not workers:
        return ExitCode.GONE
    return ExitCode.DONE if all(map(_is_well, workers)) else ExitCode.NOT_WELL


def _is_well(worker: "WorkerView") -> bool:
    # One that ends takes no jobs on purpose.
    return worker.is_consuming or worker.is_stopping


def _consuming(worker: "WorkerView") -> str:
    if worker.is_stopping:
        return "[magenta]stopping[/]"
    return "[green]yes[/]" if worker.is_consuming else "[red]no[/]"
