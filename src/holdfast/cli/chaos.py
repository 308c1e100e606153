"""`holdfast chaos`: break everything around the engine, and prove that no job was lost or done twice."""

import json
import random
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.loading import load_holdfast
from holdfast.errors import ConfigurationError
from holdfast.terminal import as_text

if TYPE_CHECKING:
    from holdfast.chaos.report import Report

_SHOWN_VIOLATIONS = 20


def chaos(
    app: Annotated[str | None, typer.Argument(help="Your own Holdfast, as module:attribute.")] = None,
    task: Annotated[str | None, typer.Option(help="The task of yours to run.")] = None,
    args: Annotated[str, typer.Option(help="Its arguments, as JSON.")] = "{}",
    setup: Annotated[str | None, typer.Option(help="A command that prepares your tables.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many jobs to submit.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="Over how long they are submitted.")] = 60,
    faults: Annotated[str, typer.Option(help="Which faults, by name and with commas; all if empty.")] = "",
    every: Annotated[float, typer.Option(min=0.1, help="Seconds from fault to fault, on average.")] = 2,
    seed: Annotated[int | None, typer.Option(help="What faults and times are drawn from.")] = None,
    workers: Annotated[int, typer.Option(min=2, help="Worker processes.")] = 3,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Jobs in flight.")] = 2,
    pool: Annotated[str, typer.Option("--pool", "-P", help="asyncio, prefork, threads or solo.")] = "prefork",
    patience: Annotated[float, typer.Option(help="Seconds for the jobs to end after the faults.")] = 180,
    keep: Annotated[bool, typer.Option(help="Leave the folder with the logs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    list_faults: Annotated[bool, typer.Option("--list", help="List the faults, and do nothing.")] = False,
) -> None:
    """Run jobs on engines of its own while everything breaks; exit code 1 if a promise was broken.

    Without an app it runs a workload of its own, whose effects and paid calls are counted. Your app is given
    the engines through its environment.
    """
    if list_faults:
        _list()
        return
    from rich.console import Console

    from holdfast.chaos.catalogue import faults_named
    from holdfast.chaos.plan import Plan
    from holdfast.chaos.run import run
    from holdfast.settings import Settings

    if (app is None) != (task is None):
        raise ConfigurationError("An app needs a --task, and a --task an app.")
    plan = Plan(
        app=app or "",
        task=task,
        args=_arguments(args),
        setup=setup,
        jobs=jobs,
        seconds=seconds,
        faults=faults_named([name.strip() for name in faults.split(",") if name.strip()]),
        every_seconds=every,
        seed=random.randrange(1_000_000) if seed is None else seed,  # noqa: S311 - not a secret
        workers=workers,
        concurrency=concurrency,
        pool=pool,
        lease_seconds=Settings().lease_seconds,
        patience_seconds=patience,
    )
    progress = Console(stderr=True)
    progress.print(f"seed {plan.seed}", highlight=False)
    tell = lambda line: progress.print(f"[dim]{as_text(line)}", highlight=False)  # noqa: E731
    report = run(plan, load_holdfast, tell, keep=keep)
    _show(report, as_json=as_json)
    if not report.is_clean:
        raise typer.Exit(1)


def submitter(app: str, order: str) -> None:
    """Submit the jobs of a run; started by `holdfast chaos`."""
    from holdfast.chaos.submitter import Order, submit

    submit(load_holdfast(app), Order.load(order))


def _list() -> None:
    from rich.console import Console
    from rich.table import Table

    from holdfast.chaos.catalogue import FAULTS

    table = Table(box=None, pad_edge=False, show_header=False)
    for fault in FAULTS:
        table.add_row(fault.name, fault.summary)
    Console().print(table)


def _arguments(text: str) -> dict[str, object]:
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"--args is not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise ConfigurationError("--args must be a JSON object, with the task's arguments by name.")
    return arguments


def _show(report: "Report", *, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if as_json:
        console.print_json(data=report.as_json())
        return
    table = Table("what", "figure", box=None, pad_edge=False)
    table.add_row("jobs submitted", str(report.jobs))
    for status, count in sorted(report.statuses.items()):
        table.add_row(f"  {status}", str(count))
    for name, count in report.defects.items():
        table.add_row(name, f"[{'bold red' if count else 'green'}]{count}[/]")
    table.add_row("paid calls", str(report.bought.calls))
    table.add_row("  repeated, not saved yet, same key", str(report.bought.unsaved))
    table.add_row("kills", str(report.kills))
    for name, spread in report.recovery.items():
        shown = ", ".join(f"{part} {value}" for part, value in spread.items() if value is not None)
        table.add_row(f"recovery, {name} (s)", shown)
    table.add_row("faults", ", ".join(f"{name} {count}" for name, count in sorted(report.injected.items())))
    for name, value in report.facts.items():
        table.add_row(name, ", ".join(value) if isinstance(value, list) else str(value))
    console.print(table)
    for violation in report.violations[:_SHOWN_VIOLATIONS]:
        console.print(f"[red]{as_text(violation)}", soft_wrap=True, highlight=False)
    console.print("[bold green]clean" if report.is_clean else "[bold red]broken")
