"""The processes of a run, and the supervisor that starts them again when they have ended."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

RESTART_SECONDS = 1.0
STOP_SECONDS = 30


@dataclass(frozen=True)
class Blow:
    """A process that was killed or stopped, and when, by the clock that PostgreSQL has as well.

    Attributes:
        worker: the pid of the worker's main process.
        child: the pid of the child alone that was killed; `None`: all of the worker.
        is_kill: killed, and not stopped to be woken again.
    """

    at: datetime
    worker: int
    child: int | None = None
    is_kill: bool = True


class Supervised:
    """A program in a process group of its own, started again a moment after it has ended.

    Args:
        name: what it is called in messages, and its log.
        command: what to run.
        env: its whole environment.
        folder: where it works and leaves its output.
        ends: its end with exit code 0 is final.
    """

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], folder: Path, *, ends: bool = False
    ) -> None:
        self.name = name
        self.env = dict(env)
        self.is_stopped = False
        self._command = command
        self._folder = folder
        self._ends = ends
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_at: float | None = None
        self._logged_before = 0

    @property
    def pid(self) -> int | None:
        """The main process while it lives."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def has_finished(self) -> bool:
        """Whether it ended with exit code 0, for good."""
        return self._ends and self._process is not None and self._process.poll() == 0

    @property
    def log(self) -> Path:
        """Where its output is."""
        return self._folder / f"{self.name}.log"

    @property
    def is_ready(self) -> bool:
        """Whether it runs, is awake, and has said that it takes jobs, as a Celery worker does."""
        if self.pid is None or self.is_stopped:
            return False
        with self.log.open("rb") as output:
            output.seek(self._logged_before)
            return b" ready." in output.read()

    def start(self) -> None:
        """Start the process."""
        self._ended_at = None
        with self.log.open("ab") as output:
            self._logged_before = output.tell()
            self._process = subprocess.Popen(
                self._command,
                env=self.env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def tend(self) -> None:
        """Start it again if it ended a while ago."""
        if self._process is None or self.pid is not None or self.has_finished:
            return
        if self._ended_at is None:
            # What a killed main process leaves behind goes with it, as it does with a container.
            self.signal(signal.SIGKILL)
            self._ended_at = time.monotonic()
        elif time.monotonic() - self._ended_at >= RESTART_SECONDS:
            self.is_stopped = False
            self.start()

    def signal(self, number: signal.Signals) -> None:
        """Signal the whole process group."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL everything of it, as the loss of a machine does."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def children(self) -> list[int]:
        """The pids of the processes under its main one."""
        pid = self.pid
        if pid is None:
            return []
        with suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return []

    def ask_to_end(self) -> None:
        """Send its main process a SIGTERM, awake."""
        self.signal(signal.SIGCONT)
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Let it end, and end it when it has not within `seconds`."""
        self.ask_to_end()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            self.kill()


@dataclass
class Fleet:
    """All supervised processes of a run, and the blows they were dealt.

    Attributes:
        others: what runs beside the workers and is not hurt.
    """

    workers: list[Supervised] = field(default_factory=list)
    others: list[Supervised] = field(default_factory=list)
    submitter: Supervised | None = None
    api: Supervised | None = None
    blows: list[Blow] = field(default_factory=list)

    def tend(self) -> None:
        """Start again what has ended."""
        for program in self._all():
            program.tend()

    def ready(self) -> list[Supervised]:
        """The workers that take jobs just now."""
        return [worker for worker in self.workers if worker.is_ready]

    def note(self, worker: Supervised, *, child: int | None = None, is_kill: bool = True) -> None:
        """Write down a blow, just before it falls."""
        if worker.pid is not None:
            self.blows.append(Blow(datetime.now(UTC), worker.pid, child, is_kill))

    def stop(self) -> None:
        """Stop all, workers first and together."""
        for program in self._all():
            program.ask_to_end()
        for program in self._all():
            program.stop()

    def _all(self) -> list[Supervised]:
        return [*self.workers, *self.others, *filter(None, [self.submitter, self.api])]
