"""`holdfast keys`: who may use the API."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holdfast.cli.loading import database_errors, load_holdfast
from holdfast.errors import ConfigurationError


class Scope(StrEnum):
    """What a key may be allowed besides the jobs and documents of its own."""

    ADMIN = "admin"


app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    expires_in_days: Annotated[
        float | None, typer.Option(min=0, help="When it ends; never if unset.")
    ] = None,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do besides; `admin`: pause and resume queues.")
    ] = None,
) -> None:
    """Make a key. It is printed now and never again: only a hash of it is stored."""
    from holdfast.jobs import keys

    expires_in = None if expires_in_days is None else timedelta(days=expires_in_days)
    with database_errors(), load_holdfast().database.transaction() as session:
        _, token = keys.create_key(session, name, scopes=scope or (), expires_in=expires_in)
    typer.echo(token)


@app.command("list")
def list_() -> None:
    """List the keys."""
    from holdfast.jobs import keys

    table = Table("prefix", "name", "scopes", "created", "expires", "revoked")
    with database_errors(), load_holdfast().database.session() as session:
        for key in keys.list_keys(session):
            times = (key.created_at, key.expires_at, key.revoked_at)
            shown = (f"{time:%Y-%m-%d %H:%M}" if time else "" for time in times)
            table.add_row(f"hf_{key.prefix}", escape(key.name), ", ".join(key.scopes), *shown)
    Console().print(table)


@app.command()
def revoke(prefix: Annotated[str, typer.Argument(help="The key's prefix, such as hf_1a2b3c4d.")]) -> None:
    """Revoke a key."""
    from holdfast.jobs import keys

    with database_errors(), load_holdfast().database.transaction() as session:
        is_revoked = keys.revoke_key(session, prefix)
    if not is_revoked:
        raise ConfigurationError(f"There is no valid key {prefix}.")
    typer.echo(f"Revoked {prefix}.")
