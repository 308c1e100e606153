"""Programs that a benchmark starts: each with a log, stopped by its process id."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

START_SECONDS = 60
STOP_SECONDS = 30


class NotReady(Exception):
    """What was waited for did not come in time."""


class Program:
    """A command that runs as a process in a session of its own; its output is kept in a file.

    Args:
        arguments: the command.
        env: its whole environment.
        log: where its output goes.
        folder: where it works.
    """

    def __init__(self, arguments: Sequence[str], *, env: Mapping[str, str], log: Path, folder: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                arguments, env=env, cwd=folder, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, is_ready: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
        """Wait for a condition; raises `NotReady` when the program ends before, or the time is over."""

        def checked() -> bool:
            if self._process.poll() is not None:
                raise NotReady(f"{what}: exit code {self._process.returncode}. {self.tail()}")
            return is_ready()

        wait_for(checked, what, seconds)

    def tail(self) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End it and all it has started; kindly at first."""
        started = descendants(self.pid)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def descendants(pid: int) -> list[psutil.Process]:
    """The processes under this one, itself not among them."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for(is_ready: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Poll a condition; raises `NotReady` when the time is over."""
    deadline = time.monotonic() + seconds
    while not is_ready():
        if time.monotonic() > deadline:
            raise NotReady(f"{what}: not within {seconds:.0f} s.")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def plain_environment() -> dict[str, str]:
    """This process's environment without what names a virtual environment or an outer make."""
    left_out = ("VIRTUAL_ENV", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if name not in left_out}
