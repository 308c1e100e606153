"""The commands, put together, and what an error looks like to a person."""

import sys
from typing import NoReturn

import typer

# None of these imports at its top what takes long to import: `--help` and completion are waited for.
from holdfast.cli import (
    batches,
    chaos,
    demo,
    documents,
    jobs,
    keys,
    queues,
    run,
    schedules,
    top,
    webhooks,
    workers,
)
from holdfast.cli.exit_codes import ExitCode
from holdfast.errors import ConfigurationError, HoldfastError
from holdfast.extras import server_parts
from holdfast.terminal import as_text

app = typer.Typer(
    help="Durable background jobs for AI APIs.", no_args_is_help=True, pretty_exceptions_enable=False
)
app.command("up")(run.up)
app.command("api")(run.api)
app.command("worker", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run.worker)
app.command("migrate")(run.migrate)
app.add_typer(keys.app, name="keys")
app.command("ingest")(documents.ingest)
app.command("search")(documents.search)
app.add_typer(jobs.app, name="jobs")
app.add_typer(batches.app, name="batches")
app.add_typer(queues.app, name="queues")
app.add_typer(workers.app, name="workers")
app.command("top")(top.top)
app.add_typer(webhooks.app, name="webhooks")
app.command("schedules")(schedules.schedules)
app.command("demo")(demo.demo)
app.command("chaos")(chaos.chaos)
app.command("chaos-submitter", hidden=True)(chaos.submitter)


def main() -> None:
    """Run the command line; an error that Holdfast knows is one line, and exit code 1."""
    try:
        with server_parts():
            app()
    except HoldfastError as error:
        _fail(error)
    except ValueError as error:
        if (told := _of_settings(error)) is None:
            raise
        _fail(ConfigurationError(told))


def _fail(error: HoldfastError) -> NoReturn:
    from rich.console import Console

    told = f"[bold red]Error[/] ({error.code}): {as_text(error.message)}"
    Console(stderr=True).print(told, highlight=False, soft_wrap=True)
    sys.exit(ExitCode.ERROR)


def _of_settings(error: ValueError) -> str | None:
    """What is wrong with which settings, if that is what the error is about."""
    from pydantic import ValidationError

    from holdfast.settings import Settings

    if not isinstance(error, ValidationError) or error.title != Settings.__name__:
        return None
    # What was given is not repeated: some settings are secrets.
    faults = [f"{_variable(fault['loc'])}: {fault['msg']}" for fault in error.errors()]
    return "; ".join(faults) + "."


def _variable(location: tuple[int | str, ...]) -> str:
    from holdfast.settings import Settings

    name = str(location[0])
    return f"HOLDFAST_{name.upper()}" if name in Settings.model_fields else name
