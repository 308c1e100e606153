"""`holdfast queues`: what waits where, and stopping it from being started; directly on the database."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from holdfast.bounds import COUNTED
from holdfast.cli.loading import database_errors, load_holdfast
from holdfast.cli.spans import span

if TYPE_CHECKING:
    from holdfast.jobs.queues import Queue

app = typer.Typer(help="List, pause and resume queues.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The queue's name.")]


@app.command("list")
def list_() -> None:
    """List the queues that have jobs, workers or a pause."""
    from holdfast.jobs import queues

    with database_errors(), load_holdfast().database.session() as session:
        found = queues.list_queues(session)
    numbers = [Column(name, justify="right") for name in ("queued", "processing", "oldest waits", "workers")]
    table = Table(Column("queue", no_wrap=True), *numbers, "state", box=None, pad_edge=False)
    for queue in found:
        oldest = "" if queue.oldest_wait_seconds is None else span(queue.oldest_wait_seconds)
        more = "+" if queue.queued >= COUNTED else ""
        counts = (f"{queue.queued}{more}", str(queue.processing), oldest, str(queue.workers))
        table.add_row(escape(queue.name), *counts, _state(queue))
    console = Console()
    console.print(table)
    for queue in found:
        if queue.queued and not queue.workers:
            console.print(
                f"[yellow]No worker takes jobs from {escape(queue.name)}[/]: start one with"
                f" [cyan]holdfast worker -Q {escape(queue.name)}[/]."
            )


@app.command()
def pause(name: Name) -> None:
    """Start no more jobs of a queue; those that run run on."""
    from holdfast.jobs import queues

    with database_errors(), load_holdfast().database.transaction() as session:
        is_new = queues.pause(session, name)
    typer.echo(f"Paused {name}." if is_new else f"{name} was paused already.")


@app.command()
def resume(name: Name) -> None:
    """Start jobs of a queue again."""
    from holdfast.jobs import queues

    with database_errors(), load_holdfast().database.transaction() as session:
        was_paused = queues.resume(session, name)
    typer.echo(f"Resumed {name}." if was_paused else f"{name} was not paused.")


def _state(queue: "Queue") -> str:
    return f"[magenta]paused since {queue.paused_at:%Y-%m-%d %H:%M} UTC[/]" if queue.paused_at else ""
