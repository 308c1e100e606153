"""`holdfast webhooks`: endpoints that are told of what happens to the jobs of a key, and the log of that."""

from typing import Annotated, Any
from uuid import UUID

import typer

from holdfast.cli.remote import connected
from holdfast.cli.showing import AsJson, print_json
from holdfast.terminal import as_text

COLOURS = {"pending": "yellow", "delivered": "green", "failed": "red", "discarded": "magenta"}

app = typer.Typer(help="Register webhooks, see what they were told, tell it again.", no_args_is_help=True)
WebhookId = Annotated[UUID, typer.Argument(help="The webhook's id.")]
NotificationId = Annotated[UUID, typer.Argument(help="The notification's id.")]
OverlapHours = Annotated[
    float, typer.Option(min=0, max=168, help="How long the secret before is valid besides the new one.")
]


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Where to post; it begins with https://.")],
    event: Annotated[
        list[str] | None, typer.Option(help="What to tell, such as job.failed; all if not given.")
    ] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Register a webhook. Its id and its secret are printed; the secret now and never again."""
    body = {"url": url, "description": description, **({"events": event} if event else {})}
    with connected() as client:
        webhook = client.request("POST", "/v1/webhooks", body)
    typer.echo(webhook["id"])
    typer.echo(webhook["secret"])


@app.command("list")
def list_(as_json_: AsJson = False) -> None:
    """List the webhooks of the key."""
    with connected() as client:
        found = client.request("GET", "/v1/webhooks")
    if as_json_:
        print_json(found)
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("id", no_wrap=True), "url", "events", "state", box=None, pad_edge=False)
    for webhook in found["data"]:
        because = webhook["disabled_because"]
        state = f"[magenta]disabled: {because}[/]" if because else "[green]enabled[/]"
        table.add_row(webhook["id"], as_text(webhook["url"]), ", ".join(webhook["events"]), state)
    Console().print(table)


@app.command()
def rotate(webhook_id: WebhookId, overlap_hours: OverlapHours = 24) -> None:
    """Make and print a new secret of a webhook."""
    with connected() as client:
        made = client.request("POST", f"/v1/webhooks/{webhook_id}/rotate", overlap_hours=overlap_hours)
    typer.echo(made["secret"])


@app.command()
def secret(overlap_hours: OverlapHours = 24) -> None:
    """Make and print a new secret for webhooks that jobs of the key name by their URL."""
    with connected() as client:
        typer.echo(client.request("POST", "/v1/webhooks/secret", overlap_hours=overlap_hours)["secret"])


@app.command()
def enable(webhook_id: WebhookId) -> None:
    """Tell a webhook again of what happens from now on."""
    _switch(webhook_id, "enable")


@app.command()
def disable(webhook_id: WebhookId) -> None:
    """Tell a webhook nothing more; what waits for it is discarded."""
    _switch(webhook_id, "disable")


@app.command()
def ping(webhook_id: WebhookId) -> None:
    """Send a webhook something to try it with. Prints the id of the notification."""
    with connected() as client:
        typer.echo(client.request("POST", f"/v1/webhooks/{webhook_id}/ping")["id"])


@app.command()
def remove(webhook_id: WebhookId) -> None:
    """Remove a webhook, with the log of what it was told."""
    with connected() as client:
        client.request("DELETE", f"/v1/webhooks/{webhook_id}")
    typer.echo(f"Removed {webhook_id}.")


@app.command()
def log(
    webhook_id: Annotated[UUID | None, typer.Option("--webhook", help="Only what this was told.")] = None,
    job_id: Annotated[UUID | None, typer.Option("--job", help="Only what was told of this job.")] = None,
    status: Annotated[str | None, typer.Option(help="pending, delivered, failed or discarded.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 20,
    as_json_: AsJson = False,
) -> None:
    """List what was told of the jobs of the key, webhooks and mail alike, newest first."""
    with connected() as client:
        found = client.request(
            "GET", "/v1/notifications", webhook_id=webhook_id, job_id=job_id, status=status, limit=limit
        )
    if as_json_:
        print_json(found)
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("id", no_wrap=True), "event", "channel", "status", "of", box=None, pad_edge=False)
    for told in found["data"]:
        table.add_row(told["id"], told["event"], as_text(told["channel"]), _coloured(told), _subject(told))
    Console().print(table)


@app.command()
def show(notification_id: NotificationId) -> None:
    """Show a notification with every try."""
    with connected() as client:
        print_json(client.request("GET", f"/v1/notifications/{notification_id}"))


@app.command()
def redeliver(notification_id: NotificationId) -> None:
    """Bring a notification once more, under the same id."""
    with connected() as client:
        client.request("POST", f"/v1/notifications/{notification_id}/redeliver")
    typer.echo(f"{notification_id} is brought again.")


def _switch(webhook_id: UUID, way: str) -> None:
    with connected() as client:
        client.request("POST", f"/v1/webhooks/{webhook_id}/{way}")
    typer.echo(f"{webhook_id} is {way}d.")


def _coloured(told: dict[str, Any]) -> str:
    return f"[{COLOURS[told['status']]}]{told['status']}[/]"


def _subject(told: dict[str, Any]) -> str:
    return str(told["job_id"] or told["batch_id"] or "")
