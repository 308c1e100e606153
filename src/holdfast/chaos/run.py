"""A run from its beginning to its report."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from holdfast.chaos.ground import Ground, ended_by_signals, free_port, ground
from holdfast.chaos.history import History
from holdfast.chaos.ledger import read_history
from holdfast.chaos.plan import Plan
from holdfast.chaos.provider import paid_calls
from holdfast.chaos.recovery import recoveries
from holdfast.chaos.report import Bought, Report, Submissions, compare_calls, make_report
from holdfast.chaos.storm import Storm
from holdfast.chaos.submitter import read_notes
from holdfast.chaos.uploading import Uploader
from holdfast.documents.library import INGEST_TASK
from holdfast.errors import ConfigurationError

if TYPE_CHECKING:
    from holdfast.app import Holdfast

Tell = Callable[[str], object]

_REDELIVERED = 2_000
_QUIET_POLL_SECONDS = 0.5


def run(plan: Plan, load: Callable[[str], "Holdfast"], tell: Tell, *, keep: bool = False) -> Report:
    """Run a plan on engines of its own and report; whatever it started has ended when it returns.

    Args:
        plan: what to do.
        load: imports a Holdfast by its name, in the environment of the run.
        tell: is told what happens, a line at a time.
        keep: leave the run's folder, with all logs.

    Raises:
        EngineStartError: an engine or a worker did not start.
        ConfigurationError: there is no such app, or the preparation failed.
        UnknownTask: the app has no such task.
    """
    with ended_by_signals(), ground(plan.lease_seconds, keep=keep) as field:
        tell(f"working in {field.folder}")
        os.environ.update(field.environment)
        holdfast = load(plan.target)
        try:
            return _run(plan, holdfast, field, tell)
        finally:
            holdfast.database.close()


def _run(plan: Plan, holdfast: "Holdfast", field: Ground, tell: Tell) -> Report:
    _prepare(plan, holdfast, field)
    command = [sys.executable, "-m", "holdfast", "worker", "--app", plan.target, "--pool", plan.pool]
    for number in range(1, plan.workers + 1):
        options = ["-c", str(plan.concurrency), "--hostname", f"worker{number}@chaos"]
        field.add_worker(f"worker-{number}", [*command, *options])
    field.await_workers()
    order = plan.order(field.folder)
    submit = ["chaos-submitter", plan.target, order.dump()]
    submitter = field.add_submitter([sys.executable, "-m", "holdfast", *submit])
    field.redeliver = lambda: _redeliver(holdfast, field)
    field.busy = lambda: _busy(field)
    uploader = _start_uploads(plan, holdfast, field) if plan.has_uploads else None
    storm = Storm(field, plan.faults, seed=plan.seed, every_seconds=plan.every_seconds, tell=tell)
    deadline = time.monotonic() + plan.seconds + plan.patience_seconds
    storm.rage(lambda: submitter.has_finished or time.monotonic() > deadline)
    if uploader is not None:
        uploader.stop()
    tell("the faults are over; waiting for quiet")
    _end_ticks(field)
    waited = _await_quiet(field, plan.patience_seconds)
    field.fleet.stop()
    report = _report(plan, field, storm, uploader)
    report.facts |= {"seed": plan.seed, "seconds until quiet": round(waited, 1), **_facts(plan)}
    return report


def _prepare(plan: Plan, holdfast: "Holdfast", field: Ground) -> None:
    from holdfast.migrations import upgrade

    if plan.task is not None:
        _ = holdfast.tasks[plan.task]  # there is one of that name
    upgrade(holdfast.database.engine)
    field.ledger.prepare()
    if plan.setup is not None:
        done = subprocess.run(plan.setup, shell=True, env=field.environment, check=False)  # noqa: S602 - the user's own
        if done.returncode:
            raise ConfigurationError(f"{plan.setup!r} gave {done.returncode}.")


def _redeliver(holdfast: "Holdfast", field: Ground) -> None:
    """Publish again for the jobs that have not ended, and for the newest of those that have."""
    from holdfast.celery.carrier import CeleryCarrier
    from holdfast.errors import CarrierUnavailable
    from holdfast.jobs.delivery.sending import Delivery

    query = (
        "SELECT id, task, queue, priority FROM holdfast.jobs ORDER BY completed_at DESC NULLS FIRST LIMIT %s"
    )
    try:
        rows = field.ledger.ask(query, [_REDELIVERED], patience=timedelta(0))
        if rows:
            CeleryCarrier(holdfast.celery).send([Delivery(*row) for row in rows])
    except (psycopg.OperationalError, CarrierUnavailable):
        return  # one of them is away; what the broker has taken comes twice


def _busy(field: Ground) -> set[int]:
    """The main process of each worker that runs a job, and the process that does; none if nobody can tell."""
    query = "SELECT split_part(worker, ':', -2)::int, process FROM holdfast.jobs WHERE status = 'processing'"
    try:
        return {pid for row in field.ledger.ask(query, patience=timedelta(0)) for pid in row}
    except psycopg.OperationalError:
        return set()


def _end_ticks(field: Ground) -> None:
    """Let no tick come any more, which would make a job for workers that are about to end.

    A schedule is as far ahead as the latest tick that it has made; a tick under way has its row locked.
    """
    field.ledger.ask("UPDATE holdfast.schedules SET last_tick_at = now() + interval '1 day'")


def _await_quiet(field: Ground, patience_seconds: float) -> float:
    """Wait until every job has ended; returns how long that took, or the patience when it did not."""
    began = time.monotonic()
    while time.monotonic() - began < patience_seconds:
        field.fleet.tend()
        if not field.ledger.unfinished():
            break
        time.sleep(_QUIET_POLL_SECONDS)
    return time.monotonic() - began


def _start_uploads(plan: Plan, holdfast: "Holdfast", field: Ground) -> Uploader:
    from holdfast.jobs.keys import create_key

    with holdfast.database.transaction() as session:
        _, token = create_key(session, "chaos")
    port = free_port()
    serve = ["uvicorn", "--factory", "holdfast.chaos.serving:application", "--port", str(port)]
    field.add_api([sys.executable, "-m", *serve, "--no-access-log"])
    uploader = Uploader(port, token, plan.seed)
    uploader.start()
    return uploader


def _report(plan: Plan, field: Ground, storm: Storm, uploader: Uploader | None) -> Report:
    history = read_history(field.ledger)
    expected = dict(field.ledger.ask("SELECT job_id, expected FROM chaos.submissions"))
    acknowledged, rolled_back = read_notes(plan.order(field.folder).notes)
    blows = field.fleet.blows
    textless = 0
    if uploader is not None:
        expected |= dict.fromkeys(_uploaded(history, uploader))
        textless = _without_text(field, uploader)
    report = make_report(
        history,
        Submissions(expected, acknowledged, rolled_back),
        _bought(field) if plan.is_own else Bought(),
        list(recoveries(history.jobs, blows, storm.outages)),
        injected=storm.injected,
        kills=sum(blow.is_kill for blow in blows),
        is_own=plan.is_own,
    )
    report.defects["uploads without their text"] = textless
    if uploader is not None:
        report.facts["uploads"] = (
            f"accepted {len(uploader.accepted)}, refused {uploader.refused}, broken off {uploader.broken}"
        )
    return report


def _uploaded(history: History, uploader: Uploader) -> set[UUID]:
    """The jobs that uploads were to make: those answered with 202, and as many as were not answered."""
    made = {job.id for job in history.jobs.values() if job.task == INGEST_TASK}
    unasked = sorted(made - uploader.accepted)[: uploader.broken]
    return uploader.accepted | set(unasked)


def _without_text(field: Ground, uploader: Uploader) -> int:
    """How many accepted uploads have a completed job, and no text that could be found."""
    query = (
        "SELECT count(*) FROM holdfast.jobs WHERE id = ANY(%s) AND status = 'completed' AND id NOT IN "
        "(SELECT latest_job_id FROM holdfast.documents WHERE chunk_count > 0 AND latest_job_id IS NOT NULL)"
    )
    return field.ledger.count(query, [list(uploader.accepted)])


def _bought(field: Ground) -> Bought:
    steps = field.ledger.ask("SELECT job_id, key, attempt FROM holdfast.steps WHERE name = 'buy'")
    saved = {(str(job_id), f"buy {key}"): attempt for job_id, key, attempt in steps}
    return compare_calls(paid_calls(field.provider_port), saved)


def _facts(plan: Plan) -> dict[str, object]:
    return {
        "workers": f"{plan.workers} x {plan.concurrency} ({plan.pool})",
        "lease, s": plan.lease_seconds,
        "faults from": [fault.name for fault in plan.faults],
    }
