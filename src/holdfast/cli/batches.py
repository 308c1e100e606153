"""`holdfast batches`: jobs that were asked for together."""

from typing import Annotated
from uuid import UUID

import typer

from holdfast.cli.remote import connected
from holdfast.cli.showing import AsJson, as_json, print_json

app = typer.Typer(help="Show and cancel batches.", no_args_is_help=True)
BatchId = Annotated[UUID, typer.Argument(help="The batch's id.")]


@app.command()
def show(batch_id: BatchId, _as_json: AsJson = False) -> None:
    """Show how many jobs of a batch stand how."""
    with connected() as client:
        print_json(as_json(client.get_batch(batch_id)))


@app.command()
def cancel(batch_id: BatchId, _as_json: AsJson = False) -> None:
    """Ask all jobs of a batch to stop: queued ones at once, processing ones when they notice."""
    with connected() as client:
        print_json(as_json(client.cancel_batch(batch_id)))
