"""`holdfast queues`: what waits where, and stopping it from being started."""

from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.bounds import COUNTED
from holdfast.cli.direct import operators_source
from holdfast.cli.showing import AsJson, Remote, as_json, print_json
from holdfast.cli.spans import span
from holdfast.terminal import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from holdfast.schemas import QueueView

app = typer.Typer(help="List, pause and resume queues.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The queue's name.")]


@app.command("list")
def list_(remote: Remote = False, as_json_: AsJson = False) -> None:
    """List the queues that have jobs, workers or a pause."""
    with operators_source(remote=remote) as source:
        found = source.list_queues()
    if as_json_:
        print_json(as_json(found))
        return
    from rich.console import Console

    console = Console()
    console.print(queue_table(found.data))
    for queue in found.data:
        if queue.queued and not queue.workers:
            console.print(
                f"[yellow]No worker takes jobs from {as_text(queue.name)}[/]: start one with"
                f" [cyan]holdfast worker -Q {as_text(queue.name)}[/]."
            )


@app.command()
def pause(name: Name, remote: Remote = False, as_json_: AsJson = False) -> None:
    """Start no more jobs of a queue; those that run run on."""
    with operators_source(remote=remote) as source:
        was_paused = _is_paused(source.list_queues().data, name)
        queue = source.pause_queue(name)
    _tell(queue, f"{name} was paused already." if was_paused else f"Paused {name}.", as_json_=as_json_)


@app.command()
def resume(name: Name, remote: Remote = False, as_json_: AsJson = False) -> None:
    """Start jobs of a queue again."""
    with operators_source(remote=remote) as source:
        was_paused = _is_paused(source.list_queues().data, name)
        queue = source.resume_queue(name)
    _tell(queue, f"Resumed {name}." if was_paused else f"{name} was not paused.", as_json_=as_json_)


def queue_table(queues: "Iterable[QueueView]") -> "Table":
    """Queues as a table that fits into a terminal of 80 columns."""
    from rich.table import Column, Table

    numbers = [Column(name, justify="right") for name in ("queued", "processing", "oldest waits", "workers")]
    table = Table(Column("queue", no_wrap=True), *numbers, "state", box=None, pad_edge=False)
    for queue in queues:
        oldest = "" if queue.oldest_wait_seconds is None else span(queue.oldest_wait_seconds)
        more = "+" if queue.queued >= COUNTED else ""
        counts = (f"{queue.queued}{more}", str(queue.processing), oldest, str(queue.workers))
        table.add_row(as_text(queue.name), *counts, _state(queue))
    return table


def _is_paused(queues: "Iterable[QueueView]", name: str) -> bool:
    return any(queue.name == name and queue.paused_at for queue in queues)


def _tell(queue: "QueueView", told: str, *, as_json_: bool) -> None:
    if as_json_:
        print_json(as_json(queue))
    else:
        typer.echo(told)


def _state(queue: "QueueView") -> str:
    return f"[magenta]paused since {queue.paused_at:%Y-%m-%d %H:%M} UTC[/]" if queue.paused_at else ""
