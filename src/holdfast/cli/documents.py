"""`ingest` and `search`: the backend from the command line, through its API."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from holdfast.cli.remote import connected
from holdfast.cli.uploading import ingest_files
from holdfast.documents.reading import is_supported_name
from holdfast.errors import ConfigurationError
from holdfast.settings import Settings

EXCERPT = 240

Collection = Annotated[str, typer.Option(help="The collection to use.")]


def ingest(
    paths: Annotated[
        list[Path], typer.Argument(help="Files, or folders to take all documents from but hidden ones.")
    ],
    collection: Collection = "default",
) -> None:
    """Ingest documents, and follow them until they can be searched. Exit code 1: some could not be.

    A file is known by its name, one out of a folder by its way there: `docs > guide > intro.md`. Ingested
    again, it replaces what it was.
    """
    files = _named(paths)
    with connected(Settings()) as remote:
        failures = ingest_files(remote, files, collection, Console())
    if failures:
        raise typer.Exit(1)


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    collection: Collection = "default",
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many results.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search a collection."""
    with connected(Settings()) as remote:
        found = remote.post("/v1/search", {"query": query, "collection": collection, "limit": limit})
    console = Console()
    if as_json:
        console.print_json(data=found)
    else:
        show_hits(console, found)


def show_hits(console: Console, found: dict[str, Any]) -> None:
    """Print search results, each with where it stands."""
    if not found["data"]:
        console.print("Nothing found.")
    for rank, hit in enumerate(found["data"], start=1):
        page = f", page {hit['page']}" if hit["page"] else ""
        section = f" › {hit['section']}" if hit["section"] else ""
        place = f"[bold cyan]{rank}. {escape(hit['document'])}[/][dim]{page}{escape(section)}[/]"
        excerpt = " ".join(hit["text"].split())
        shortened = excerpt[:EXCERPT] + ("…" if len(excerpt) > EXCERPT else "")
        console.print(f"{place}\n   {escape(shortened)}", highlight=False)


def _named(paths: Iterable[Path]) -> dict[str, Path]:
    """The files under the names of their documents; two of one name would replace each other unnoticed."""
    named: dict[str, Path] = {}
    for name, path in _files(paths):
        other = named.setdefault(name, path)
        if not other.samefile(path):
            raise ConfigurationError(
                f"{other} and {path} would both be called {name!r}, and one would replace the other. "
                "Name the folder above them, or give each a collection of its own."
            )
    if not named:
        raise ConfigurationError("No file in there is of a type that can be ingested.")
    return named


def _files(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if path.is_dir():
            # Not by slashes: of a path the API keeps the last part, and many folders hold an `index.html`.
            top = path.resolve().name
            for file in sorted(path.rglob("*")):
                way = file.relative_to(path).parts
                if file.is_file() and _is_document(way):
                    yield " > ".join((top, *way)), file
        elif path.is_file():
            yield path.name, path
        else:
            raise ConfigurationError(f"{path} is neither a file nor a folder.")


def _is_document(way: tuple[str, ...]) -> bool:
    # Hidden are tools' own things, such as `.git`, `.venv` and `.holdfast`.
    is_hidden = any(part.startswith(".") for part in way)
    return not is_hidden and bool(Path(way[-1]).suffix) and is_supported_name(way[-1])
