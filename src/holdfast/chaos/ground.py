"""Where a run takes place: a folder with engines, links, workers, a submitter, and a server of paid calls."""

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from holdfast.chaos.engines import Engines
from holdfast.chaos.fleet import Fleet, Supervised
from holdfast.chaos.ledger import Ledger
from holdfast.chaos.provider import PORT_VARIABLE
from holdfast.chaos.proxy import Link, Network
from holdfast.errors import EngineStartError

Environment: TypeAlias = dict[str, str]

START_SECONDS = 60
SKEWED = Path(__file__).with_name("skewed")
CLOCK_VARIABLE = "HOLDFAST_CHAOS_CLOCK_SECONDS"


@dataclass(frozen=True)
class Links:
    """A worker's ways to the engines."""

    postgres: Link
    valkey: Link


@dataclass
class Ground:
    """What faults are injected into, and the run is watched on.

    Attributes:
        links: each worker's, by its name.
        lease_seconds: after which a silent worker's jobs are taken back.
        redeliver: publishes every job's message again, where the system under test has such messages.
        busy: the pids of the processes that run a job just now; faults prefer them.
    """

    folder: Path
    engines: Engines
    ledger: Ledger
    network: Network
    fleet: Fleet
    provider_port: int
    environment: Mapping[str, str]
    lease_seconds: float
    redeliver: Callable[[], object] | None = None
    busy: Callable[[], set[int]] = set

    def __post_init__(self) -> None:
        self.links: dict[str, Links] = {}

    def add_worker(
        self, name: str, command: Sequence[str], adapt: Callable[[Environment], Environment] = dict
    ) -> Supervised:
        """Start a worker that reaches the engines by links of its own; `adapt` may change its environment."""
        self.links[name] = links = Links(
            self.network.link(self.engines.postgres_socket), self.network.link(self.engines.valkey_socket)
        )
        worker = Supervised(name, command, adapt({**self.environment, **_linked(links)}), self.folder)
        self.fleet.workers.append(worker)
        worker.start()
        return worker

    def add_submitter(self, command: Sequence[str]) -> Supervised:
        """Start the process that submits; it reaches the engines without a detour."""
        self.fleet.submitter = Supervised("submitter", command, self.environment, self.folder, ends=True)
        self.fleet.submitter.start()
        return self.fleet.submitter

    def add_api(self, command: Sequence[str]) -> Supervised:
        """Start the API; it reaches the engines without a detour."""
        self.fleet.api = Supervised("api", command, self.environment, self.folder)
        self.fleet.api.start()
        return self.fleet.api

    def await_workers(self) -> None:
        """Wait until every worker takes jobs.

        Raises:
            EngineStartError: one did not come up; the message ends with its log.
        """
        deadline = time.monotonic() + START_SECONDS
        for worker in self.fleet.workers:
            while not worker.is_ready:
                if time.monotonic() > deadline:
                    tail = worker.log.read_text(errors="replace")[-2000:]
                    raise EngineStartError(f"{worker.name} did not start:\n{tail}")
                self.fleet.tend()
                time.sleep(0.1)


@contextmanager
def ground(lease_seconds: float, *, keep: bool = False) -> Iterator[Ground]:
    """A ground of one's own. At its end everything that was started is stopped, and its folder removed.

    Args:
        lease_seconds: that of the workers.
        keep: leave the folder, with all logs.
    """
    folder = Path(tempfile.mkdtemp(prefix="holdfast-chaos-"))
    with ExitStack() as stack:
        if not keep:
            stack.callback(_remove, folder)
        engines = Engines(folder / "engines")
        stack.callback(engines.stop)
        urls = engines.start()
        database = str(urls.database_url)
        port = free_port()
        environment = _environment(folder, database, str(urls.redis_url), port, lease_seconds)
        ledger = Ledger(database.replace("postgresql+psycopg://", "postgresql://"))
        stack.callback(ledger.close)
        network = Network()
        stack.callback(network.close)
        provider = Supervised(
            "provider", [sys.executable, "-m", "holdfast.chaos.provider", str(port)], environment, folder
        )
        stack.callback(provider.kill)
        provider.start()
        fleet = Fleet()
        stack.callback(fleet.stop)
        yield Ground(folder, engines, ledger, network, fleet, port, environment, lease_seconds)


def free_port() -> int:
    """A port on loopback that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def skewed(env: Mapping[str, str], seconds: int) -> dict[str, str]:
    """The environment with Python's clock moved; 0 moves it back."""
    path = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part and part != str(SKEWED)]
    path = [str(SKEWED), *path] if seconds else path
    return {**env, "PYTHONPATH": os.pathsep.join(path), CLOCK_VARIABLE: str(seconds)}


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: what was started is stopped on the way out."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _environment(
    folder: Path, database: str, redis: str, provider_port: int, lease_seconds: float
) -> dict[str, str]:
    # The folder one works in may hold the modules of the user's app, as `holdfast worker` would find them.
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        "HOLDFAST_KEY_PREFIX": "holdfast:",
        "HOLDFAST_HOME": str(folder / "home"),
        "HOLDFAST_LEASE_SECONDS": str(lease_seconds),
        PORT_VARIABLE: str(provider_port),
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
    }


def _linked(links: Links) -> dict[str, str]:
    return {
        "DATABASE_URL": f"postgresql+psycopg://holdfast@127.0.0.1:{links.postgres.port}/holdfast",
        "REDIS_URL": f"redis://127.0.0.1:{links.valkey.port}/0",
    }


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
