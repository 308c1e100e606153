"""`holdfast jobs retry`: dead jobs by their ids, or all that failed alike."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape

from holdfast.cli.remote import Remote, RequestRefused, connected
from holdfast.cli.spans import parse_span
from holdfast.settings import Settings
from holdfast.states import JobStatus, Steps

PAGE = 100


@dataclass(frozen=True)
class _Retry:
    """A job to retry, under an idempotency key if nobody has named it."""

    job_id: str
    key: str | None = None


def retry(
    job_ids: Annotated[list[UUID] | None, typer.Argument(help="Failed or cancelled jobs.")] = None,
    task: Annotated[str | None, typer.Option(help="All failed jobs of this task.")] = None,
    error: Annotated[str | None, typer.Option(help="All jobs that failed with this code.")] = None,
    since: Annotated[
        str | None, typer.Option(help="All that failed so long ago at most: 90s, 1h, 2d.")
    ] = None,
    steps: Annotated[Steps, typer.Option(help="What becomes of the steps that were saved.")] = Steps.KEEP,
    limit: Annotated[int, typer.Option(min=1, help="So many at most, the newest first.")] = 1_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Make new jobs that do what dead ones asked for.

    By task, error and time those are found that no other job retries yet.

    Exit code 1: some could not be retried.
    """
    filters = {"task": task, "error": error, "completed_after": None if since is None else _ago(since)}
    is_filtered = any(value is not None for value in filters.values())
    if bool(job_ids) == is_filtered:
        raise typer.BadParameter("Name jobs, or say which by --task, --error or --since.")
    console = Console()
    with connected(Settings()) as remote:
        if job_ids:
            asked = [_Retry(str(job_id)) for job_id in job_ids]
        else:
            found = list(islice(_failed(remote, filters), limit))
            _tell(console, found)
            if dry_run or not found or not (yes or typer.confirm(f"Retry {len(found)} jobs?")):
                return
            # A key, so that two who retry the same jobs at the same time make them once.
            asked = [_Retry(job["id"], f"jobs-retry:{job['id']}:{steps}") for job in found]
        failures = _retry_all(remote, console, asked, steps)
    if failures:
        raise typer.Exit(1)


def _failed(remote: Remote, filters: dict[str, str | None]) -> Iterator[dict[str, Any]]:
    before = None
    while True:
        page = remote.get(
            "/v1/jobs", status=JobStatus.FAILED, was_retried=False, limit=PAGE, before=before, **filters
        )
        yield from page["data"]
        if not page["has_more"]:
            return
        before = page["last_id"]


def _tell(console: Console, found: Iterable[dict[str, Any]]) -> None:
    kinds = Counter((job["task"], job["error"]["code"]) for job in found)
    for (task, code), count in kinds.most_common():
        console.print(f"{count} × {escape(task)} [red]{escape(code)}[/]", highlight=False)
    if not kinds:
        console.print("No failed job is like that, or all are retried already.")


def _retry_all(remote: Remote, console: Console, asked: Iterable[_Retry], steps: Steps) -> int:
    """Retry all of these; returns how many could not be."""
    made = failures = 0
    for job in asked:
        try:
            accepted = remote.post(f"/v1/jobs/{job.job_id}/retry", key=job.key, steps=steps)
        except RequestRefused as error:
            failures += 1
            console.print(
                f"[red]✗[/] {job.job_id} [red]{error.code}[/] {escape(error.message)}", highlight=False
            )
        else:
            made += accepted["created"]
            console.print(f"[green]✓[/] {job.job_id} → {accepted['job_id']}", highlight=False)
    console.print(f"{made} retried, {failures} not.", highlight=False)
    return failures


def _ago(span: str) -> str:
    return (datetime.now(UTC) - parse_span(span)).isoformat()
