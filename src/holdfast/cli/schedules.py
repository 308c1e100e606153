"""`holdfast schedules`: what is run by the clock, and when."""

from datetime import datetime
from zoneinfo import ZoneInfo

import typer

from holdfast.cli.loading import database_errors, load_holdfast
from holdfast.cli.run import App
from holdfast.cli.showing import AsJson, print_json
from holdfast.terminal import as_text


def schedules(app: App = None, as_json: AsJson = False) -> None:
    """List the tasks that are run by the clock, with their last and next ticks."""
    from holdfast.jobs.schedules import list_schedules

    holdfast = load_holdfast(app)
    with database_errors(), holdfast.database.session() as session:
        found = list_schedules(session, holdfast.tasks)
    if as_json:
        from pydantic_core import to_jsonable_python

        print_json({"data": to_jsonable_python(found)})
        return
    if not found:
        typer.echo("No task has a cron.")
        return
    from rich.console import Console
    from rich.table import Column, Table

    names = ("task", "cron", "timezone", "last tick", "next tick")
    # Without lines, a row fits into a terminal of 80 columns.
    table = Table(*(Column(name, no_wrap=True) for name in names), box=None, pad_edge=False)
    for view in found:
        ticks = (_shown(tick, view.timezone) for tick in (view.last_tick_at, view.next_tick_at))
        table.add_row(as_text(view.task), view.cron, view.timezone, *ticks)
    Console().print(table)


def _shown(tick: datetime | None, timezone: str) -> str:
    return "" if tick is None else f"{tick.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M}"
