"""What most parts run on: engines, processes and an API key of their own in a temporary folder."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import redis

from benchmarks.programs import Program, free_port, plain_environment
from holdfast import Holdfast, Settings
from holdfast.engines import EmbeddedEngines, EngineUrls
from holdfast.jobs import keys
from holdfast.migrations import upgrade

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Served:
    """A web server: where it answers, and its process."""

    url: str
    program: Program

    @property
    def pid(self) -> int:
        return self.program.pid


class Bed:
    """Migrated engines, and programs that use them; all of it ends with the `bed()` that made it."""

    def __init__(self, folder: Path, urls: EngineUrls, stack: ExitStack) -> None:
        self.folder = folder
        self.urls = urls
        self._stack = stack
        self.holdfast = Holdfast(
            Settings(_env_file=None, home=folder, database_url=urls.database_url, redis_url=urls.redis_url)  # type: ignore[call-arg]
        )
        stack.callback(self.holdfast.database.close)
        upgrade(self.holdfast.database.engine)
        with self.holdfast.database.transaction() as session:
            self.owner, self.token = keys.create_key(session, "benchmark")

    @property
    def environment(self) -> dict[str, str]:
        """What programs are given: the engines, and this repository to import from."""
        return plain_environment() | {
            "DATABASE_URL": str(self.urls.database_url),
            "REDIS_URL": str(self.urls.redis_url),
            "HOLDFAST_HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, name: str, *arguments: str, **env: str) -> Program:
        """Start `python ARGUMENTS`, to be stopped at the end."""
        program = Program(
            [sys.executable, *arguments],
            env=self.environment | env,
            log=self.folder / f"{name}.log",
            folder=self.folder,
        )
        self._stack.callback(program.stop)
        return program

    def api(self, **env: str) -> Served:
        """Start `holdfast api` as it comes."""
        port = free_port()
        return self._served(
            self.run("api", "-m", "holdfast", "api", "--port", str(port), **env), port, "/readyz"
        )

    def serve(self, name: str, app: str, ready: str = "/ready") -> Served:
        """Start an ASGI application of the benchmarks in uvicorn: one process, no access log."""
        port = free_port()
        options = ("--port", str(port), "--no-access-log", "--log-level", "warning")
        return self._served(self.run(name, "-m", "uvicorn", app, *options), port, ready)

    def worker(self, concurrency: int = 2, app: str | None = None, **env: str) -> Program:
        """Start `holdfast worker` and wait until it takes jobs."""
        arguments = ["worker", "-c", str(concurrency), *(["--app", app] if app else [])]
        program = self.run("worker", "-m", "holdfast", *arguments, **env)
        program.wait_for(lambda: " ready." in program.tail(), "the worker")
        return program

    def connect(self) -> psycopg.Connection:
        """A connection to the database, in autocommit."""
        url = self.holdfast.database.url.replace("postgresql+psycopg://", "postgresql://")
        return psycopg.connect(url, autocommit=True)

    def engine_pids(self) -> dict[str, int]:
        """PostgreSQL's first process and Valkey's."""
        with self.connect() as connection, redis.Redis.from_url(str(self.urls.redis_url)) as valkey:
            row = connection.execute("SHOW data_directory").fetchone()
            postmaster = Path(row[0]) / "postmaster.pid"
            return {
                "postgres": int(postmaster.read_text().splitlines()[0]),
                "valkey": valkey.info("server")["process_id"],
            }

    def engine_versions(self) -> dict[str, str]:
        query = (
            "SELECT current_setting('server_version'), extversion FROM pg_extension WHERE extname = 'vector'"
        )
        with self.connect() as connection, redis.Redis.from_url(str(self.urls.redis_url)) as valkey:
            postgres, pgvector = connection.execute(query).fetchone()
            facts = valkey.info("server")
        return {
            "postgres": postgres,
            "pgvector": pgvector,
            "valkey": facts.get("valkey_version") or facts["redis_version"],
        }

    def _served(self, program: Program, port: int, ready: str) -> Served:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(f"{url}{ready}", timeout=5).is_success
            except httpx.TransportError:
                return False

        program.wait_for(answers, url)
        return Served(url, program)


@contextmanager
def bed() -> Iterator[Bed]:
    """A bed of one's own; at the end its programs are stopped, its engines too, and its folder is removed."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with EmbeddedEngines(folder / "engines") as urls, ExitStack() as stack:
            yield Bed(folder, urls, stack)
