"""`ingest` and `search`: the backend from the command line, through its API."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.remote import connected
from holdfast.cli.showing import AsJson, as_json, print_json
from holdfast.documents.media_types import is_supported_name
from holdfast.errors import ConfigurationError
from holdfast.terminal import as_text

if TYPE_CHECKING:
    from rich.console import Console

    from holdfast.cli.uploading import Ingested
    from holdfast.schemas import SearchResults

EXCERPT = 240

Collection = Annotated[str, typer.Option(help="The collection to use.")]


def ingest(
    paths: Annotated[
        list[Path], typer.Argument(help="Files, or folders to take all documents from but hidden ones.")
    ],
    collection: Collection = "default",
    as_json_: AsJson = False,
) -> None:
    """Ingest documents, and follow them until they can be searched. Exit code 1: some could not be.

    A file is known by its name, one out of a folder by its way there: `docs > guide > intro.md`. Ingested
    again, it replaces what it was.
    """
    from rich.console import Console

    from holdfast.cli.uploading import ingest_files

    files = _named(paths)
    with connected() as client:
        ended = ingest_files(client, files, collection, Console(quiet=as_json_))
    if as_json_:
        print_json({"data": [_told(each) for each in ended]})
    if not all(each.is_done for each in ended):
        raise typer.Exit(ExitCode.ERROR)


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    collection: Collection = "default",
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many results.")] = 5,
    as_json_: AsJson = False,
) -> None:
    """Search a collection."""
    with connected() as client:
        found = client.search(query, collection, limit=limit)
    if as_json_:
        print_json(as_json(found))
        return
    from rich.console import Console

    show_hits(Console(), found)


def show_hits(console: "Console", found: "SearchResults") -> None:
    """Print search results, each with where it stands."""
    if not found.data:
        console.print("Nothing found.")
    for rank, hit in enumerate(found.data, start=1):
        page = f", page {hit.page}" if hit.page else ""
        section = f" › {hit.section}" if hit.section else ""
        place = f"[bold cyan]{rank}. {as_text(hit.document)}[/][dim]{page}{as_text(section)}[/]"
        excerpt = " ".join(hit.text.split())
        shortened = excerpt[:EXCERPT] + ("…" if len(excerpt) > EXCERPT else "")
        console.print(f"{place}\n   {as_text(shortened)}", highlight=False)


def _told(ingested: "Ingested") -> dict[str, object]:
    from holdfast.cli.uploading import reason_of

    told: dict[str, object] = {"name": ingested.name, "job": None, "error": None}
    if ingested.job is not None:
        told["job"] = as_json(ingested.job)
    if not ingested.is_done:
        code, message = reason_of(ingested)
        told["error"] = {"code": code, "message": message}
    return told


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
