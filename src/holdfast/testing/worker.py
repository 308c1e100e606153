"""A real worker, in a process group of its own."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from holdfast.testing.waiting import wait_for


class WorkerProcess:
    """A Celery worker that was started and will be stopped by its pid, whatever it is doing.

    Args:
        environment: its whole environment.
        log: the file it writes to.
        command: what to run: `holdfast worker ...` or `celery ... worker ...`.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, command: Sequence[str]) -> None:
        self._log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        self.pid = self._popen.pid

    @property
    def log(self) -> str:
        """What it has written."""
        return self._log.read_text()

    @property
    def is_running(self) -> bool:
        """Whether its main process lives."""
        return self._popen.poll() is None

    def children(self) -> list[int]:
        """The pids of its child processes, such as those of the prefork pool."""
        return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]

    def await_ready(self) -> "WorkerProcess":
        """Wait until it takes jobs; returns itself.

        Raises:
            AssertionError: it has ended, or half a minute has passed.
        """

        def is_ready() -> bool:
            if not self.is_running:
                raise AssertionError(self.log)
            return " ready." in self.log

        wait_for(is_ready, "the worker's start")
        return self

    def send(self, signal_number: signal.Signals) -> None:
        """Signal the worker's main process."""
        self._popen.send_signal(signal_number)

    def signal_all(self, signal_number: signal.Signals) -> None:
        """Signal the whole process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal_number)

    def wait(self, seconds: float = 30) -> int:
        """Wait for its end; returns the exit status."""
        return self._popen.wait(seconds)

    def kill(self) -> None:
        """SIGKILL everything of it, as the loss of a machine does."""
        self.signal_all(signal.SIGKILL)
        self.wait()
