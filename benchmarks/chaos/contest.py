"""Contenders under the same kills: the same jobs, the same workers, the same seed, one after another."""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.chaos.contest_work import SCHEMA
from holdfast.chaos.catalogue import faults_named
from holdfast.chaos.fleet import Blow, Supervised
from holdfast.chaos.ground import Ground, ground
from holdfast.chaos.provider import paid_calls
from holdfast.chaos.recovery import quantile
from holdfast.chaos.storm import Storm
from holdfast.migrations import upgrade

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
FAULTS = ("kill-worker", "kill-child")
LEASE_SECONDS = 15
WORKERS = 3


@dataclass(frozen=True)
class Size:
    """How much of a contest: jobs, the seconds they are submitted over, and those they are waited for."""

    jobs: int
    seconds: float
    patience_seconds: float
    every_seconds: float


@dataclass(frozen=True)
class Contender:
    """What runs the jobs.

    Attributes:
        python: the interpreter of its environment.
        worker: arguments of a worker, for `python -m`.
        module: the app, which submits when it is run.
        guardian: another program that it needs, as a command.
        env: what its app is told.
    """

    name: str
    module: str
    worker: Sequence[str]
    python: str = sys.executable
    guardian: Sequence[str] = ()
    env: Callable[[dict[str, str]], dict[str, str]] = lambda env: env


def holdfast() -> Contender:
    app = "benchmarks.chaos.holdfast_app"
    # In children, as the others, so that the same processes are killed.
    worker = ["holdfast", "worker", "--app", f"{app}:holdfast", "--pool", "prefork", "-c", "2"]
    return Contender("holdfast", app, worker)


def plain() -> Contender:
    app = "benchmarks.chaos.plain_app"
    return Contender("plain Celery", app, ["celery", "-A", app, "worker", "-c", "2", "-l", "info"])


def relier(folder: Path) -> Contender:
    """The package relier, in an environment of its own; raises `CalledProcessError` if it cannot be had."""
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    python = str(folder / "bin" / "python")
    packages = ["relier", "celery[redis]", "psycopg[binary]"]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *packages], check=True)
    app = "benchmarks.chaos.relier_app"
    queues = "high_priority,default,low_priority,re-queue"
    worker = ["celery", "-A", "relier.tasks.app", "worker", "-c", "2", "-l", "info", "-Q", queues]
    return Contender(
        f"relier {_version(python, 'relier')}",
        app,
        [*worker, f"--include={app}"],
        python=python,
        guardian=[str(folder / "bin" / "rl"), "run-resurrector"],
        env=lambda env: {**env, "RELIER_REDIS_URL": env["REDIS_URL"]},
    )


def hold(contender: Contender, size: Size, seed: int, tell: Callable[[str], object]) -> dict[str, Any]:
    """Let one contender work, kill its workers and children, wait, and count."""
    with ground(LEASE_SECONDS) as field:
        _prepare(field)
        for number in range(1, WORKERS + 1):
            _add_worker(field, contender, number)
        field.await_workers()
        submitter = _submitter(field, contender, size)
        storm = Storm(field, faults_named(FAULTS), seed=seed, every_seconds=size.every_seconds, tell=tell)
        storm.rage(lambda: submitter.has_finished)
        waited = _await_end(field, size)
        field.fleet.stop()
        return {"contender": contender.name, "waited_seconds": round(waited, 1), **_count(field)}


def without(folder: Path) -> None:
    """Remove an environment that was made for a contender."""
    shutil.rmtree(folder, ignore_errors=True)


def _prepare(field: Ground) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(field.environment["DATABASE_URL"])
    upgrade(engine)
    engine.dispose()
    field.ledger.ask(SCHEMA)


def _add_worker(field: Ground, contender: Contender, number: int) -> None:
    name = f"worker-{number}"
    command = [contender.python, "-m", *contender.worker, "--hostname", f"{name}@contest"]
    field.add_worker(name, command, lambda env: contender.env(env) | {"PYTHONPATH": PYTHONPATH})


def _submitter(field: Ground, contender: Contender, size: Size) -> Supervised:
    # relier's client speaks TCP alone, so that the submitter reaches the engines as a worker does.
    env = field.fleet.workers[0].env
    if contender.guardian:
        guardian = Supervised("guardian", contender.guardian, env, field.folder)
        field.fleet.others.append(guardian)
        guardian.start()
    command = [contender.python, "-m", contender.module, str(size.jobs), str(size.seconds)]
    submitter = Supervised("submitter", command, env, field.folder, ends=True)
    field.fleet.submitter = submitter
    submitter.start()
    return submitter


def _await_end(field: Ground, size: Size) -> float:
    began = time.monotonic()
    query = "SELECT count(*) FROM contest.rows WHERE status <> 'completed'"
    while field.ledger.count(query) and time.monotonic() - began < size.patience_seconds:
        field.fleet.tend()
        time.sleep(0.5)
    return time.monotonic() - began


def _count(field: Ground) -> dict[str, Any]:
    jobs = field.ledger.count("SELECT count(*) FROM contest.rows")
    effects = Counter(str(row[0]) for row in field.ledger.ask("SELECT job_id FROM contest.effects"))
    calls = Counter(call.job_id for call in paid_calls(field.provider_port))
    taken = list(_recoveries(field))
    seconds = [each for each in taken if each is not None]
    return {
        "jobs": jobs,
        "done": len(effects),
        "lost or stuck": jobs - len(effects),
        "effects doubled": sum(count > 1 for count in effects.values()),
        "paid calls repeated": sum(calls.values()) - len(calls),
        "kills": len(field.fleet.blows),
        "jobs in killed hands": len(taken),
        "never begun again": len(taken) - len(seconds),
        "recovery p50": quantile(seconds, 0.5),
        "recovery p99": quantile(seconds, 0.99),
    }


def _recoveries(field: Ground) -> list[float | None]:
    """For each job in the hands of a process when it was killed, the seconds until it was begun again."""
    starts: dict[str, list[tuple[datetime, int, int]]] = {}
    for job_id, main, process, at in field.ledger.ask("SELECT * FROM contest.starts ORDER BY at"):
        starts.setdefault(str(job_id), []).append((at, main, process))
    query = "SELECT job_id, min(at) FROM contest.effects GROUP BY 1"
    done = {str(job_id): at for job_id, at in field.ledger.ask(query)}
    taken: list[float | None] = []
    for job_id, begun in starts.items():
        for index, (at, main, process) in enumerate(begun):
            following = begun[index + 1][0] if index + 1 < len(begun) else None
            ended = min(filter(None, [following, done.get(job_id)]), default=None)
            blow = _blow(field.fleet.blows, at, ended, main, process)
            if blow is not None:
                taken.append(None if following is None else (following - blow.at).total_seconds())
    return taken


def _blow(
    blows: Sequence[Blow], began: datetime, ended: datetime | None, main: int, process: int
) -> Blow | None:
    for blow in blows:
        is_its = blow.worker == main and blow.child in (None, process)
        if is_its and began <= blow.at and (ended is None or blow.at < ended):
            return blow
    return None


def _version(python: str, package: str) -> str:
    program = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def forget_configuration() -> None:
    """What a developer has set is not what is measured."""
    for name in list(os.environ):
        if name in ("DATABASE_URL", "REDIS_URL") or name.startswith(("HOLDFAST_", "RELIER_")):
            del os.environ[name]
