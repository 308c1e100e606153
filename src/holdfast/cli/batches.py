"""`holdfast batches`: jobs that were asked for together."""

from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from holdfast.cli.remote import connected
from holdfast.settings import Settings

app = typer.Typer(help="Show and cancel batches.", no_args_is_help=True)
BatchId = Annotated[UUID, typer.Argument(help="The batch's id.")]


@app.command()
def show(batch_id: BatchId) -> None:
    """Show how many jobs of a batch stand how."""
    with connected(Settings()) as remote:
        Console().print_json(data=remote.get(f"/v1/batches/{batch_id}"))


@app.command()
def cancel(batch_id: BatchId) -> None:
    """Ask all jobs of a batch to stop: queued ones at once, processing ones when they notice."""
    with connected(Settings()) as remote:
        Console().print_json(data=remote.post(f"/v1/batches/{batch_id}/cancel"))
