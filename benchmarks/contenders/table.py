"""The contenders, each with the settings that its documentation would have for the purpose."""

import os
from collections.abc import Sequence

from benchmarks.bed import ROOT
from benchmarks.contenders.contender import Command, Contender, Kept

APPS = "benchmarks.contenders.apps"
# What `holdfast worker --pool` is given; empty: its default.
HOLDFAST_POOL = ""
PREFORK_SLOTS = 16

_ASYNC = ("aiohttp", "uvloop")
_IN_POSTGRES = "nothing lost"
_HOLDFAST = Kept(
    record="PostgreSQL",
    broker_lost=_IN_POSTGRES,
    worker_killed="runs again within seconds, on another worker",
    result="PostgreSQL, 30 days",
    history="each attempt: worker, times, outcome, error",
    is_durable=True,
)
_CELERY = Kept(
    record="Valkey",
    broker_lost="lost",
    worker_killed="runs again after the visibility timeout, 1 h",
    result="Valkey, 1 day",
    history="none",
)


def contenders() -> list[Contender]:
    """All of them, or those whose names begin with one of the words in `ONLY` (commas in between)."""
    asked = tuple(name.strip().lower() for name in os.environ.get("ONLY", "").split(",") if name.strip())
    return [each for each in _ALL if not asked or each.name.lower().startswith(asked)]


def _each(processes: int, *command: str) -> Sequence[Command]:
    """As many programs: the worker of this queue is one process."""
    return [command] * processes


def _holdfast(name: str, pool: str, task: str, slots: int, busy_slots: int) -> Contender:
    command = ("holdfast", "worker", "--app", f"{APPS}.holdfast_app:holdfast")
    option = ("--pool", pool) if pool else ()

    def workers(processes: int, slots: int) -> Sequence[Command]:
        if pool == "prefork":
            return [(*command, "-c", str(processes * slots), *option)]
        return [
            (*command, "-c", str(slots), "--hostname", f"worker{number}@%h", *option)
            for number in range(processes)
        ]

    packages = (
        "--constraint",
        str(ROOT / "constraints.txt"),
        "--editable",
        f"{ROOT}[server]",
        *_ASYNC,
        "urllib3",
    )
    return Contender(
        name,
        "holdfast",
        "holdfast_app",
        packages,
        workers,
        _HOLDFAST,
        slots=slots,
        busy_slots=busy_slots,
        env={"TASK": task},
    )


def _celery(pool: str, slots: int, busy_slots: int) -> Contender:
    command = ("celery", "-A", f"{APPS}.celery_app", "worker", "-P", pool, "-l", "warning")

    def workers(processes: int, slots: int) -> Sequence[Command]:
        if pool == "prefork":
            return [(*command, "-c", str(processes * slots))]
        return [(*command, "-c", str(slots), "-n", f"worker{number}@%h") for number in range(processes)]

    return Contender(
        f"Celery, {pool}",
        "celery",
        "celery_app",
        ("celery[redis]", "gevent", "urllib3"),
        workers,
        _CELERY,
        slots=slots,
        busy_slots=busy_slots,
    )


_TASKIQ = Contender(
    "taskiq",
    "taskiq",
    "taskiq_app",
    ("taskiq", "taskiq-redis", "hiredis", *_ASYNC),
    lambda processes, slots: [
        (
            *("taskiq", "worker", f"{APPS}.taskiq_app:broker", "--log-level", "WARNING"),
            *("--workers", str(processes), "--max-async-tasks", str(slots)),
        )
    ],
    Kept(
        record="Valkey",
        broker_lost="lost",
        worker_killed="runs again after 10 min without an acknowledgement",
        result="Valkey, until it is deleted",
        history="none",
    ),
)

_ARQ = Contender(
    "arq",
    "arq",
    "arq_app",
    ("arq", *_ASYNC),
    lambda processes, _: _each(processes, "arq", f"{APPS}.arq_app.WorkerSettings"),
    Kept(
        record="Valkey",
        broker_lost="lost",
        worker_killed="runs again after its timeout, 5 min",
        result="Valkey, 1 h",
        history="none",
    ),
)

_SAQ = Contender(
    "SAQ",
    "saq",
    "saq_app",
    ("saq[redis,hiredis]", *_ASYNC),
    lambda processes, _: [("saq", f"{APPS}.saq_app.settings", "--workers", str(processes))],
    Kept(
        record="Valkey",
        broker_lost="lost",
        worker_killed="runs again after its timeout, 10 min",
        result="Valkey, 10 min",
        history="none",
    ),
)

_DRAMATIQ = Contender(
    "dramatiq",
    "dramatiq",
    "dramatiq_app",
    ("dramatiq[redis]", "hiredis", *_ASYNC),
    lambda processes, slots: [
        (
            *("dramatiq", f"{APPS}.dramatiq_app"),
            *("--processes", str(processes), "--threads", str(slots)),
        )
    ],
    Kept(
        record="Valkey",
        broker_lost="lost",
        worker_killed="runs again after 60 s without a heartbeat",
        result="Valkey, 10 min",
        history="none",
    ),
    busy_slots=8,
)

_PROCRASTINATE = Contender(
    "procrastinate",
    "procrastinate",
    "procrastinate_app",
    ("procrastinate", "psycopg[binary,pool]", *_ASYNC),
    lambda processes, slots: _each(
        processes,
        *("procrastinate", "--app", f"{APPS}.procrastinate_app.app", "worker"),
        *("--concurrency", str(slots)),
    ),
    Kept(
        record="PostgreSQL",
        broker_lost=_IN_POSTGRES,
        worker_killed="stalled until a task of the user's own retries it",
        result="none",
        history="each change of status, number of attempts",
    ),
)

_DBOS = Contender(
    "DBOS",
    "dbos",
    "dbos_app",
    ("dbos", *_ASYNC),
    lambda processes, _: _each(processes, "python", "-m", f"{APPS}.dbos_app", "worker"),
    Kept(
        record="PostgreSQL",
        broker_lost=_IN_POSTGRES,
        worker_killed="runs again when an executor of the same name starts",
        result="PostgreSQL, until it is deleted",
        history="each step, times and number of attempts",
        is_durable=True,
    ),
)

_PGQUEUER = Contender(
    "PgQueuer",
    "pgqueuer",
    "pgqueuer_app",
    ("pgqueuer[asyncpg]", "typer<0.26", *_ASYNC),
    lambda processes, slots: _each(
        processes,
        *("pgq", "run", f"{APPS}.pgqueuer_app:main"),
        *("--batch-size", str(min(100, slots // 2)), "--max-concurrent-tasks", str(slots)),
    ),
    Kept(
        record="PostgreSQL",
        broker_lost=_IN_POSTGRES,
        worker_killed="runs again after 30 s without a heartbeat",
        result="none",
        history="a log of statuses",
    ),
)

_ALL = [
    _holdfast("Holdfast", HOLDFAST_POOL, "coroutine", 1_000, 100),
    _holdfast("Holdfast, prefork", "prefork", "function", PREFORK_SLOTS, 1),
    _celery("threads", 1_000, 10),
    _celery("gevent", 1_000, 100),
    _celery("prefork", PREFORK_SLOTS, 1),
    _TASKIQ,
    _ARQ,
    _SAQ,
    _DRAMATIQ,
    _PROCRASTINATE,
    _DBOS,
    _PGQUEUER,
]
