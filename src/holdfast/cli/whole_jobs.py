"""A job as it stands in the database, with what the API shows nobody: for whoever runs the whole."""

from uuid import UUID

import typer

from holdfast.cli.direct import NoSuchJob
from holdfast.cli.loading import database_errors, load_holdfast
from holdfast.cli.showing import print_json
from holdfast.terminal import without_controls


def show_whole(job_id: UUID, *, as_json: bool = False) -> None:
    """Print the job's row with its attempts, and then the tracebacks.

    Raises:
        NoSuchJob: there is no such job.
    """
    from pydantic_core import to_jsonable_python

    from holdfast.jobs import queries

    with database_errors(), load_holdfast().database.session() as session:
        job, attempts = queries.get_job(session, job_id), queries.list_attempts(session, job_id)
    if job is None:
        raise NoSuchJob
    tracebacks: dict[int, str] = {}
    if not as_json:
        # To people they are shown below, with their lines.
        tracebacks = {attempt.attempt: (attempt.error or {}).pop("traceback", "") for attempt in attempts}
    shown = {**_columns(job), "attempts": [_columns(attempt) for attempt in attempts]}
    print_json(to_jsonable_python(shown, bytes_mode="base64"))
    for number, traceback in tracebacks.items():
        if traceback:
            typer.secho(f"Attempt {number}", bold=True)
            typer.echo(without_controls(traceback))


def _columns(row: object) -> dict[str, object]:
    return {name.rstrip("_"): value for name, value in vars(row).items() if not name.startswith("_")}
