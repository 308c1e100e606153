"""`holdfast jobs retry`: dead jobs by their ids, or all that failed alike."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.remote import connected
from holdfast.cli.showing import AsJson, print_json
from holdfast.cli.spans import parse_span
from holdfast.errors import ApiUnreachable, HoldfastError
from holdfast.states import JobStatus, Steps
from holdfast.terminal import as_text

if TYPE_CHECKING:
    from rich.console import Console

    from holdfast.client import Client, JobFilters
    from holdfast.schemas import JobView


@dataclass(frozen=True)
class _Retry:
    """A job to retry, under an idempotency key if nobody has named it."""

    job_id: UUID
    key: str | None = None


@dataclass(frozen=True)
class _Retried:
    """What became of it: the new job, which may have been made before, or the error."""

    asked: _Retry
    job_id: UUID | None = None
    created: bool = False
    error: HoldfastError | None = None


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
    as_json: AsJson = False,
) -> None:
    """Make new jobs that do what dead ones asked for.

    By task, error and time those are found that no other job retries yet.

    Exit code 1: some could not be retried.
    """
    filters: JobFilters = {"status": JobStatus.FAILED, "was_retried": False, "task": task, "error": error}
    if since is not None:
        filters["completed_after"] = _ago(since)
    if bool(job_ids) == any(value is not None for value in (task, error, since)):
        raise typer.BadParameter("Name jobs, or say which by --task, --error or --since.")
    from rich.console import Console

    console = Console(quiet=as_json)
    with connected() as client:
        if job_ids:
            asked = [_Retry(job_id) for job_id in job_ids]
        else:
            found = list(islice(client.jobs(**filters), limit))
            _tell(console, found)
            if dry_run or not found or not (yes or _confirms(len(found), as_json)):
                asked = []
            else:
                # A key, so that two who retry the same jobs at the same time make them once.
                asked = [_Retry(job.id, f"jobs-retry:{job.id}:{steps}") for job in found]
        retried = [_retried(client, console, each, steps) for each in asked]
    failures = sum(each.error is not None for each in retried)
    if asked:
        console.print(f"{sum(each.created for each in retried)} retried, {failures} not.", highlight=False)
    if as_json:
        print_json({"data": [_told(each) for each in retried]})
    if failures:
        raise typer.Exit(ExitCode.ERROR)


def _confirms(count: int, as_json: bool) -> bool:
    return typer.confirm(f"Retry {count} jobs?", err=as_json)


def _tell(console: "Console", found: "Iterable[JobView]") -> None:

    kinds = Counter((job.task, "" if job.error is None else job.error.code) for job in found)
    for (task, code), count in kinds.most_common():
        console.print(f"{count} × {as_text(task)} [red]{as_text(code)}[/]", highlight=False)
    if not kinds:
        console.print("No failed job is like that, or all are retried already.")


def _retried(client: "Client", console: "Console", asked: _Retry, steps: Steps) -> _Retried:

    try:
        job = client.retry_job(asked.job_id, steps=steps, idempotency_key=asked.key)
    except ApiUnreachable:
        raise
    except HoldfastError as error:
        told = f"[red]✗[/] {asked.job_id} [red]{error.code}[/] {as_text(error.message)}"
        console.print(told, highlight=False)
        return _Retried(asked, error=error)
    console.print(f"[green]✓[/] {asked.job_id} → {job.id}", highlight=False)
    return _Retried(asked, job.id, bool(job.created))


def _told(retried: _Retried) -> dict[str, object]:
    error = retried.error
    return {
        "retry_of": str(retried.asked.job_id),
        "job_id": None if retried.job_id is None else str(retried.job_id),
        "created": retried.created,
        "error": None if error is None else {"code": error.code, "message": error.message},
    }


def _ago(span: str) -> datetime:
    return datetime.now(UTC) - parse_span(span)
