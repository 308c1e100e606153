"""Faults of what all workers share: PostgreSQL, Valkey, and the messages in it."""

import time
from collections.abc import Sequence
from random import Random
from signal import SIGINT, SIGQUIT

import psycopg
from psycopg.rows import TupleRow

from holdfast.chaos.fault import Wound
from holdfast.chaos.ground import Ground

_HOARDING_SECONDS = 10


def flush_valkey(ground: Ground, _rng: Random) -> None:
    """FLUSHALL: every message and every result is gone."""
    ground.engines.flush_valkey()


def restart_valkey(ground: Ground, rng: Random) -> Wound:
    """SIGKILL, and a start with what its append-only file has: up to a second of messages is lost."""
    ground.engines.kill_valkey(forget=False)
    return Wound(rng.uniform(0.5, 3), ground.engines.start)


def empty_valkey(ground: Ground, rng: Random) -> Wound:
    """SIGKILL, and a start with nothing."""
    ground.engines.kill_valkey(forget=True)
    return Wound(rng.uniform(0.5, 3), ground.engines.start)


def hang_valkey(ground: Ground, rng: Random) -> Wound:
    """SIGSTOP: it accepts connections and never answers, for 6 to 10 seconds."""
    ground.engines.hang_valkey()
    return Wound(rng.uniform(6, 10), ground.engines.wake_valkey)


def restart_postgres(ground: Ground, rng: Random) -> Wound:
    """An end in order or a crash, and a start, with recovery after the crash."""
    ground.engines.end_postgres(rng.choice([SIGINT, SIGQUIT]))
    return Wound(rng.uniform(0.5, 3), ground.engines.start)


def terminate_connections(ground: Ground, _rng: Random) -> None:
    """Every connection is closed by the server."""
    _terminate(ground)


def exhaust_connections(ground: Ground, rng: Random) -> Wound:
    """Take every connection that is free, and those that the workers lose, for 3 to 5 seconds."""
    taken = _take_connections(ground)
    _terminate(ground, [connection.info.backend_pid for connection in taken])
    taken += _take_connections(ground)

    def give_back() -> None:
        for connection in taken:
            connection.close()

    return Wound(rng.uniform(3, 5), give_back)


def deliver_again(ground: Ground, _rng: Random) -> None:
    """Publish every job's message once more, those of finished jobs as well."""
    if ground.redeliver is not None:
        ground.redeliver()


def _terminate(ground: Ground, kept: Sequence[int] = ()) -> None:
    ground.ledger.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND pid <> ALL(%s::int[]) AND backend_type = 'client backend'",
        [list(kept)],
    )


def _take_connections(ground: Ground) -> list[psycopg.Connection[TupleRow]]:
    taken = []
    deadline = time.monotonic() + _HOARDING_SECONDS
    while time.monotonic() < deadline:
        try:
            taken.append(psycopg.connect(ground.ledger.url, application_name="holdfast-chaos-hoard"))
        except psycopg.OperationalError:
            break
    return taken
