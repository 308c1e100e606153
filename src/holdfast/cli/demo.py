"""`holdfast demo`: the main job from end to end, on documents that every machine has."""

import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from holdfast.cli.documents import show_hits
from holdfast.cli.services import Service, end_as_by_ctrl_c, running, wait_until_ready

if TYPE_CHECKING:
    from rich.console import Console

    from holdfast.app import Holdfast
    from holdfast.client import Client

QUERIES = (
    "how do I retry a failed task",
    "stream a large file upload",
    "connection pool for PostgreSQL",
)
LARGEST = 40
# Whoever has these set shall not find the demo's documents in their database, or on their bill.
NOT_FOR_THE_DEMO = (
    "DATABASE_URL",
    "REDIS_URL",
    "HOLDFAST_BROKER_URL",
    "HOLDFAST_STORAGE_URL",
    "HOLDFAST_APP",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
)


def demo() -> None:
    """Ingest the READMEs of the installed Python packages through the API and a worker, and search them.

    Exit code 1: some could not be ingested.
    """
    from rich.console import Console

    from holdfast.app import Holdfast
    from holdfast.settings import Settings

    started = time.monotonic()
    end_as_by_ctrl_c()
    console = Console()
    home = (Settings().home / "demo").absolute()
    shutil.rmtree(home, ignore_errors=True)
    files = _write_readmes(home / "documents")
    console.print(f"[bold]1.[/] {len(files)} documents: the READMEs of the packages installed here")
    holdfast = Holdfast(Settings(home=home, database_url=None, redis_url=None))
    token = _prepare(holdfast, console)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"HOLDFAST_HOME": str(home), **dict.fromkeys(NOT_FOR_THE_DEMO, "")}
    services = [
        Service("api", ["api", "--port", str(port)], env=env, folder=home),
        Service("worker", ["worker"], env=env, folder=home),
    ]
    with running(services):
        wait_until_ready(url, services)
        console.print(f"[bold]3.[/] API at {url} and a Celery worker are processes of their own")
        failures = _show(url, token, files, console)
    console.print(f"\nDone in {time.monotonic() - started:.1f} s; nothing is left running.")
    if failures:
        raise typer.Exit(1)
    console.print(
        "Next: [cyan]make up[/], then [cyan].venv/bin/holdfast ingest YOUR-FILES[/]", highlight=False
    )


def _show(url: str, token: str, files: list[Path], console: "Console") -> int:
    from holdfast.cli.uploading import ingest_files
    from holdfast.client import Client

    console.print("[bold]4.[/] Upload, ingest, follow")
    started = time.monotonic()
    with Client(url, token) as client:
        ended = ingest_files(client, {file.name: file for file in files}, "readmes", console)
        failures = sum(not each.is_done for each in ended)
        _tell_found(client, len(files) - failures, len(files), time.monotonic() - started, console)
    return failures


def _tell_found(client: "Client", done: int, total: int, seconds: float, console: "Console") -> None:
    console.print(f"   {done} of {total} documents ingested in {seconds:.1f} s")
    console.print("[bold]5.[/] Search")
    for query in QUERIES:
        console.print(f"\n[bold]{query}?[/]")
        show_hits(console, client.search(query, "readmes", limit=2))


def _prepare(holdfast: "Holdfast", console: "Console") -> str:
    from holdfast.jobs import keys
    from holdfast.migrations import upgrade

    upgrade(holdfast.database.engine)
    with holdfast.database.transaction() as session:
        _, token = keys.create_key(session, "demo")
    console.print("[bold]2.[/] PostgreSQL and Valkey started, tables made, a key created")
    return token


def _write_readmes(folder: Path) -> list[Path]:
    """Write the long descriptions of installed packages into files, the longest ones first."""
    from importlib import metadata

    folder.mkdir(parents=True)
    about = {dist.name: dist.metadata.json for dist in metadata.distributions()}
    readmes = {name: str(facts["description"]) for name, facts in about.items() if "description" in facts}
    files = []
    for name in sorted(readmes, key=lambda name: -len(readmes[name]))[:LARGEST]:
        is_markdown = "markdown" in str(about[name].get("description_content_type", ""))
        files.append(folder / f"{name}{'.md' if is_markdown else '.rst'}")
        files[-1].write_text(readmes[name], encoding="utf-8")
    return files


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
