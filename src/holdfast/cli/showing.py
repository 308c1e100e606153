"""How the commands print: JSON for programs, and in colour for people."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Direct = Annotated[
    bool,
    typer.Option("--direct", help="Directly on the database, and for the jobs of all keys: for operators."),
]

Remote = Annotated[
    bool,
    typer.Option("--remote", help="Through the API, with a key of the scope `admin`."),
]


def print_json(data: object) -> None:
    """Print as JSON, in colour on a terminal."""
    told = json.dumps(data, indent=2, ensure_ascii=False)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.highlighter import JSONHighlighter

        Console().print(JSONHighlighter()(_escaped(told)), soft_wrap=True)
    else:
        typer.echo(told)


def print_line(data: object) -> None:
    """Print as JSON on one line, at once."""
    typer.echo(json.dumps(data, ensure_ascii=False))
    sys.stdout.flush()


def as_json(view: "BaseModel") -> dict[str, Any]:
    """What the API gives for it."""
    return view.model_dump(mode="json")


def coloured(status: str) -> str:
    """The status in its colour."""
    from holdfast.client.bars import COLOURS

    return f"[{COLOURS[status]}]{status}[/]"


def _escaped(told: str) -> str:
    """The JSON with what a terminal would obey written in JSON's own way."""
    return "".join(sign if sign == "\n" or sign.isprintable() else json.dumps(sign)[1:-1] for sign in told)
