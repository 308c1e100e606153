"""Where a contender runs: engines that are empty before each run, its environment, its programs."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
from sqlalchemy import make_url

from benchmarks.bed import Bed
from benchmarks.contenders import marks
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.environments import Environment, environment
from benchmarks.contenders.marks import Times
from benchmarks.processes import Peaks, cpu_seconds, pss
from benchmarks.programs import NotReady, Program, descendants, free_port

ASK_SECONDS = 120
SETTLE_SECONDS = 15


@dataclass(frozen=True)
class Work:
    """What each job does: `nothing`, `sleep`, or `http`, the latter two for so many seconds."""

    kind: str = "nothing"
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.seconds:g} s {'of sleep' if self.kind == 'sleep' else 'of a provider'}"


class AppFailed(Exception):
    """A contender's app did not do what it was asked for."""


class Arena:
    """Runs contenders, one at a time, on the engines of a bed."""

    def __init__(self, own: Bed) -> None:
        self._own = own
        self._environments: dict[str, Environment] = {}
        self._runs = 0
        # Every client speaks TCP; not every one speaks to a socket in the file system.
        port = free_port()
        with redis.Redis.from_url(str(own.urls.redis_url)) as valkey:
            valkey.config_set("bind", "127.0.0.1")
            valkey.config_set("port", port)
        self._redis_url = f"redis://127.0.0.1:{port}/0"

    def environment(self, contender: Contender) -> Environment:
        """The contender's environment; contenders of one queue share it."""
        return environment(contender.distribution, contender.packages)

    @contextmanager
    def run(self, contender: Contender, work: Work, *, provider: str = "") -> Iterator["Run"]:
        """A run on a database of its own, which its app has prepared, and an empty Valkey."""
        self._runs += 1
        database = f"run_{self._runs}"
        folder = self._own.folder / database
        folder.mkdir()
        with redis.Redis.from_url(self._redis_url) as valkey, self._own.connect() as connection:
            valkey.flushall()
            connection.execute(f"CREATE DATABASE {database}")
            connection.execute("CHECKPOINT")
            url = make_url(self._own.holdfast.database.url).set(drivername="postgresql", database=database)
            env = self._own.environment | {
                "DATABASE_URL": url.render_as_string(hide_password=False),
                "REDIS_URL": self._redis_url,
                "MARKS": str(folder / "marks"),
                "WORK": work.kind,
                "SECONDS": str(work.seconds),
                "PROVIDER": provider,
                **contender.env,
            }
            try:
                with ExitStack() as stack:
                    run = Run(contender, self.environment(contender), env, folder, stack, self._own)
                    run.ask("prepare")
                    yield run
            finally:
                connection.execute(f"DROP DATABASE {database} WITH (FORCE)")


class Run:
    """One contender at work; its programs end with the block that made it."""

    def __init__(
        self,
        contender: Contender,
        place: Environment,
        env: Mapping[str, str],
        folder: Path,
        stack: ExitStack,
        own: Bed,
    ) -> None:
        self._contender = contender
        self._place = place
        self._env = env
        self._folder = folder
        self._stack = stack
        self._own = own
        self._marks = folder / "marks"
        self._programs: list[Program] = []

    def ask(self, *arguments: object, seconds: float = ASK_SECONDS) -> str:
        """Run a command of the app to its end (see `clerk`); raises `AppFailed`."""
        command = [self._place.program("python"), "-m", self._contender.module, *map(str, arguments)]
        try:
            done = subprocess.run(
                command,
                env=self._env,
                cwd=self._folder,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            raise AppFailed(f"{arguments[0]}: not within {seconds:.0f} s.") from error
        except subprocess.CalledProcessError as error:
            raise AppFailed(f"{arguments[0]}: {error.stderr[-1_000:]}") from error
        return done.stdout.strip()

    def start_worker(self, processes: int, slots: int) -> None:
        """Start a worker with so many processes, each with so many slots."""
        for number, command in enumerate(self._contender.workers(processes, slots)):
            program = Program(
                [self._place.program(command[0]), *command[1:]],
                env={**self._env, "CONCURRENCY": str(slots), "WORKER": f"worker-{number}"},
                log=self._folder / f"worker-{number}.log",
                folder=self._folder,
            )
            self._stack.callback(program.stop)
            self._programs.append(program)

    def wait_for(self, is_ready: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for a condition while the workers live; raises `NotReady` with what they have said."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            for program in self._programs:
                program.wait_for(lambda: True, what)
            if time.monotonic() > deadline:
                done = len(self.times().ended)
                raise NotReady(f"{what}: not within {seconds:.0f} s, {done} jobs have ended.")
            time.sleep(0.02)

    def wait_for_ends(self, count: int, seconds: float) -> None:
        """Wait until so many jobs have ended."""
        self.wait_for(
            lambda: marks.written(self._marks) >= 2 * count and len(self.times().ended) >= count,
            f"the end of {count} jobs",
            seconds,
        )

    def wait_for_begin(self, seconds: float) -> None:
        """Wait until a job has begun."""
        self.wait_for(lambda: marks.written(self._marks) > 0, "the first job", seconds)

    def times(self) -> Times:
        return marks.read(self._marks)

    def await_records(self, count: int) -> int:
        """How many finished jobs the contender can tell of: all, or as many after a while."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (kept := int(self.ask("kept"))) < count and time.monotonic() < deadline:
            time.sleep(0.5)
        return kept

    def processes(self) -> list[psutil.Process]:
        """The worker's, with all that it has started."""
        mains = [psutil.Process(program.pid) for program in self._programs if psutil.pid_exists(program.pid)]
        return mains + [each for program in self._programs for each in descendants(program.pid)]

    def used(self) -> dict[str, float]:
        """Seconds of CPU until now: of the worker, PostgreSQL and Valkey."""
        worker = sum(cpu_seconds(program.pid) for program in self._programs)
        return {"worker": worker} | {name: cpu_seconds(pid) for name, pid in self._own.engine_pids().items()}

    def peaks(self) -> Peaks:
        """The worker's memory, shared pages counted once (PSS)."""
        return Peaks({"worker": self.processes}, size=pss)


def failure(error: Exception) -> str:
    """What went wrong, in a line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''} {lines[-1] if lines[1:] else ''}".strip()
