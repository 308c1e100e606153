"""`holdfast keys`: who may use the API."""

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.loading import database_errors, load_holdfast
from holdfast.cli.showing import AsJson, print_json
from holdfast.errors import ConfigurationError
from holdfast.terminal import as_text

if TYPE_CHECKING:
    from holdfast.jobs.models import ApiKey


class Scope(StrEnum):
    """What a key may be allowed besides the jobs and documents of its own."""

    ADMIN = "admin"
    VIEWER = "viewer"


app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    expires_in_days: Annotated[
        float | None, typer.Option(min=0, help="When it ends; never if unset.")
    ] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do besides; `admin`: run the whole; `viewer`: look at the dashboard."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is printed now and never again: only a hash of it is stored."""
    from holdfast.jobs import keys

    expires_in = None if expires_in_days is None else timedelta(days=expires_in_days)
    with database_errors(), load_holdfast().database.transaction() as session:
        _, token = keys.create_key(session, name, scopes=scope or (), expires_in=expires_in)
    if as_json:
        print_json({"key": token, "name": name, "scopes": scope or []})
    else:
        typer.echo(token)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the keys."""
    from holdfast.jobs import keys

    with database_errors(), load_holdfast().database.session() as session:
        found = [_facts(key) for key in keys.list_keys(session)]
    if as_json:
        print_json({"data": [{**facts, **_written(facts)} for facts in found]})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("prefix", "name", "scopes", "created", "expires", "revoked")
    for facts in found:
        times = (facts[name] for name in _TIMES)
        shown = (f"{time:%Y-%m-%d %H:%M}" if time else "" for time in times)
        table.add_row(facts["prefix"], as_text(facts["name"]), ", ".join(facts["scopes"]), *shown)
    Console().print(table)


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="The key's prefix, such as hf_1a2b3c4d.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key."""
    from holdfast.jobs import keys

    with database_errors(), load_holdfast().database.transaction() as session:
        is_revoked = keys.revoke_key(session, prefix)
    if not is_revoked:
        raise ConfigurationError(f"There is no valid key {prefix}.")
    if as_json:
        print_json({"prefix": prefix, "revoked": True})
    else:
        typer.echo(f"Revoked {prefix}.")


_TIMES = ("created_at", "expires_at", "revoked_at")


def _facts(key: "ApiKey") -> dict[str, Any]:
    named = {"prefix": f"hf_{key.prefix}", "name": key.name, "scopes": list(key.scopes)}
    return {**named, **{name: getattr(key, name) for name in _TIMES}}


def _written(facts: dict[str, Any]) -> dict[str, str | None]:
    return {name: facts[name] and facts[name].isoformat() for name in _TIMES}
