"""`up`, `api`, `worker` and `migrate`: running the parts."""

import logging
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.loading import database_errors, load_holdfast
from holdfast.cli.local_key import key_file, make_local_key
from holdfast.cli.pools import Pool
from holdfast.cli.services import Service, end_as_by_ctrl_c, running, supervise, wait_until_ready
from holdfast.errors import ConfigurationError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from rich.console import Console

    from holdfast.app import Holdfast

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(envvar="PORT", help="Port to listen on.")]
Concurrency = Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Jobs in flight.")]
MaxJobs = Annotated[
    int | None,
    typer.Option(min=1, help="Jobs after which the worker, or a child of prefork, makes way for another."),
]
MaxMemory = Annotated[
    int | None, typer.Option(min=1, help="The same when it takes so many megabytes; for code that leaks.")
]
App = Annotated[str | None, typer.Option(help="The Holdfast to run, as module:attribute.")]


def migrate(app: App = None) -> None:
    """Bring the database's schema up to date; harmless to repeat, and to run in several places at once."""
    from holdfast.migrations import upgrade

    holdfast = load_holdfast(app)
    with database_errors():
        upgrade(holdfast.database.engine)


def api(app: App = None, host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve the HTTP API: of the document backend, or of the jobs alone for a Holdfast of your own."""
    import uvicorn

    from holdfast.settings import Settings

    logging.basicConfig(
        level=Settings().log_level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    # uvicorn ends its process by the signal that ended it, which would leave the embedded engines running.
    end_as_by_ctrl_c()
    # The API writes a line for each request itself, with the request's id.
    uvicorn.run(_application(app), host=host, port=port, access_log=False, log_config=None)


def worker(
    context: typer.Context,
    app: App = None,
    concurrency: Concurrency = 100,
    pool: Annotated[Pool, typer.Option("--pool", "-P", help="How jobs run side by side.")] = Pool.ASYNCIO,
    max_jobs: MaxJobs = None,
    max_memory: MaxMemory = None,
) -> None:
    """Run a worker. Further options go to `celery worker`, such as `-Q queue` or `--hostname name`."""
    from holdfast.celery.command import run_worker
    from holdfast.settings import Settings

    celery = load_holdfast(app).celery
    level = Settings().log_level
    # Celery's option knows its own pools only, and leaves the choice to this where it is not given.
    celery.conf.worker_pool = pool.target
    arguments = [f"--concurrency={concurrency}", f"--loglevel={level}"]
    if max_jobs is not None:
        arguments.append(f"--max-tasks-per-child={max_jobs}")
    if max_memory is not None:
        arguments.append(f"--max-memory-per-child={max_memory * 1_000}")
    run_worker(celery, [*arguments, *context.args])


def up(host: Host = "127.0.0.1", port: Port = 8000, concurrency: Concurrency = 100) -> None:
    """Run engines, API and worker in this terminal, until Ctrl-C."""
    from rich.console import Console

    from holdfast.migrations import upgrade

    console = Console()
    end_as_by_ctrl_c()
    _check_free(host, port)
    holdfast = load_holdfast()
    with console.status("Starting the engines"), database_errors():
        upgrade(holdfast.database.engine)
        token = make_local_key(holdfast)
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 - compared, not bound
    services = [
        Service("api", ["api", "--host", host, "--port", str(port)]),
        Service("worker", ["worker", "--concurrency", str(concurrency)]),
    ]
    try:
        with running(services):
            wait_until_ready(url, services)
            _greet(console, url, token, holdfast)
            supervise(services, holdfast.revive_engines, lambda line: console.print(f"[yellow]{line}"))
    except KeyboardInterrupt:
        console.print("Stopped.")


def _application(target: str | None) -> "FastAPI":
    from holdfast import server
    from holdfast.api import create_app
    from holdfast.dashboard import add_dashboard

    holdfast = load_holdfast(target)
    return server.create() if _has_documents(holdfast) else add_dashboard(create_app(holdfast))


def _has_documents(holdfast: "Holdfast") -> bool:
    from holdfast import server

    return holdfast is server.holdfast


def _greet(console: "Console", url: str, token: str | None, holdfast: "Holdfast") -> None:
    settings = holdfast.settings
    console.print(
        f"\n[bold green]Holdfast is up[/] at [link={url}]{url}[/link], its API described at {url}/docs,"
        f" its dashboard at {url}/dashboard"
    )
    if token is not None:
        console.print(f"API key: [bold]{token}[/]  (shown once, kept in {key_file(settings)})")
    commands = ["holdfast jobs list"]
    if _has_documents(holdfast):
        commands = ["holdfast ingest FILE…", "holdfast search 'a question'"]
    if settings.url.rstrip("/") != url:
        commands.insert(0, f"export HOLDFAST_URL={url}")
    shown = ", ".join(f"[cyan]{command}[/]" for command in commands)
    console.print(f"In another terminal: {shown}\n", highlight=False, soft_wrap=True)


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(f"Port {port} of {host} cannot be used: {error.strerror}.") from error
