"""Faults of what all workers share: PostgreSQL, Valkey, and the messages in it."""

import time
from random import Random
from signal import SIGINT, SIGQUIT

import psycopg
from psycopg.rows import TupleRow

from holdfast.chaos.fault import Wound
from holdfast.chaos.ground import Ground

_HOARDING_SECONDS = 10
_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"


def flush_valkey(ground: Ground, _rng: Random) -> None:
    """FLUSHALL: every message and every result is gone."""
    ground.engines.flush_valkey()


def restart_valkey(ground: Ground, rng: Random) -> Wound:
    """SIGKILL, and a start with what its append-only file has: up to a second of messages is lost."""
    ground.engines.kill_valkey(forget=False)
    return Wound(rng.uniform(0.5, 3), ground.engines.start_valkey)


def empty_valkey(ground: Ground, rng: Random) -> Wound:
    """SIGKILL, and a start with nothing."""
    ground.engines.kill_valkey(forget=True)
    return Wound(rng.uniform(0.5, 3), ground.engines.start_valkey)


def hang_valkey(ground: Ground, rng: Random) -> Wound:
    """SIGSTOP: it accepts connections and never answers, for 6 to 10 seconds."""
    ground.engines.hang_valkey()
    return Wound(rng.uniform(6, 10), ground.engines.wake_valkey)


def restart_postgres(ground: Ground, rng: Random) -> Wound:
    """An end in order or a crash, and a start, with recovery after the crash."""
    ground.engines.end_postgres(rng.choice([SIGINT, SIGQUIT]))
    return Wound(rng.uniform(0.5, 3), ground.engines.start_postgres)


def terminate_connections(ground: Ground, _rng: Random) -> None:
    """Every connection is closed by the server."""
    ground.ledger.ask(f"{_TERMINATE} AND pid <> pg_backend_pid()")


def exhaust_connections(ground: Ground, rng: Random) -> Wound:
    """Take every connection that is free, and those that the workers lose, for 3 to 5 seconds."""
    taken = _take_connections(ground)
    if taken:
        # By one of those that were taken: nobody else can connect any more.
        kept = [connection.info.backend_pid for connection in taken]
        taken[0].execute(f"{_TERMINATE} AND pid <> ALL(%s)".encode(), [kept])
        taken += _take_connections(ground)

    def give_back() -> None:
        for connection in taken:
            connection.close()

    return Wound(rng.uniform(3, 5), give_back)


def deliver_again(ground: Ground, _rng: Random) -> None:
    """Publish every job's message once more, those of finished jobs as well."""
    if ground.redeliver is not None:
        ground.redeliver()


def _take_connections(ground: Ground) -> list[psycopg.Connection[TupleRow]]:
    taken = []
    deadline = time.monotonic() + _HOARDING_SECONDS
    while time.monotonic() < deadline:
        try:
            taken.append(psycopg.connect(ground.ledger.url, autocommit=True))
        except psycopg.OperationalError:
            break
    return taken
