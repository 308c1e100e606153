"""An engine's process: launched into a session of its own, found again, and stopped.

Each engine inherits a descriptor with an exclusive lock on `<engine>.lock` and passes it on to its own
children. So the lock is held exactly as long as any process of that engine lives: through a killed parent,
a recycled pid, a stale pid file, even from another container that shares the folder. Two servers on one data
folder, which would destroy it, are thereby ruled out. A pid file only tells whom to signal, and the pid is
believed when that process's command line names our data folder.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

import psutil

from holdfast.engines.account import Account
from holdfast.engines.locks import is_locked, open_private, try_exclusive
from holdfast.errors import EngineStartError

START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_PID_FILE_SECONDS = 5.0
_POLL_SECONDS = 0.01
_LOG_LIMIT_BYTES = 10_000_000
_LOG_TAIL_BYTES = 2_000

Refusal = Callable[[], str | None]
"""Tries to talk to an engine: `None` when it answers, else why it does not."""


@dataclass(frozen=True)
class Daemon:
    """One engine of one data folder.

    Attributes:
        name: for messages.
        data: its data folder, an argument of its command line as well.
        pid_file: whose first line is its pid while it runs.
        leftovers: files that an abrupt end leaves behind and that may be removed when it does not run.
        stop_signals: what to send it until it goes, gentlest first.
    """

    name: str
    data: Path
    pid_file: Path
    leftovers: tuple[Path, ...]
    stop_signals: tuple[Signals, ...]

    @property
    def lock(self) -> Path:
        """The file that is locked as long as any process of the engine lives."""
        return self.data.with_suffix(".lock")

    @property
    def log(self) -> Path:
        """Where the engine writes; starts of the same folder append."""
        return self.data.with_suffix(".log")

    def find_process(self) -> psutil.Process | None:
        """Return the engine's main process, or `None` when there is none that is surely ours."""
        try:
            process = psutil.Process(int(self.pid_file.read_text().partition("\n")[0]))
            return process if str(self.data) in process.cmdline() else None
        except (OSError, ValueError, psutil.Error):
            return None

    def ensure_running(self, argv: list[str], account: Account, refusal: Refusal) -> None:
        """Return once the engine answers; launch `argv` when it does not run yet.

        The caller holds the folder's lock. A fresh engine has `START_SECONDS` to answer, a found one as well.

        Raises:
            EngineStartError: it ended or did not answer in time; the message ends with its log.
        """
        deadline = time.monotonic() + START_SECONDS
        if self._is_left_running(refusal, deadline) and self._comes_up(refusal, deadline):
            return
        for path in self.leftovers:
            path.unlink(missing_ok=True)
        self._launch(account.command(argv))
        if not self._comes_up(refusal, deadline):
            raise self._failure("ended instead of starting")

    def run_tool(self, argv: list[str], account: Account) -> None:
        """Run a program that prepares the data folder, holding the engine's lock until it ends.

        Raises:
            EngineStartError: it failed; the message ends with what it said.
        """
        with self._inheritance() as (lock, log):
            status = _run(account.command(argv), lock, log)
        if status:
            raise self._failure(f"could not be prepared: {Path(argv[0]).name} gave {status}")

    def await_release(self) -> None:
        """Wait until no process of the engine is left, such as a tool whose caller was killed.

        Raises:
            EngineStartError: one is still there after `START_SECONDS`.
        """
        if not wait_until(lambda: not is_locked(self.lock), START_SECONDS):
            raise self._failure("is still being prepared by another process")

    def stop(self) -> None:
        """Stop the engine if a process of it that is surely ours runs, and wait until it is gone."""
        # One launched a moment ago is locked already but has yet to write its pid.
        wait_until(lambda: bool(self.find_process()) or not is_locked(self.lock), _PID_FILE_SECONDS)
        if process := self.find_process():
            terminate(process, self.stop_signals)

    def _is_left_running(self, refusal: Refusal, deadline: float) -> bool:
        # Locked but without a process we know: what a killed engine leaves for a moment, or an engine that
        # runs in another container. The first goes away, the second answers.
        while is_locked(self.lock):
            if self.find_process() or refusal() is None:
                return True
            if time.monotonic() > deadline:
                raise self._failure("is locked by a process that does not answer")
            time.sleep(_POLL_SECONDS)
        return self.find_process() is not None

    def _comes_up(self, refusal: Refusal, deadline: float) -> bool:
        while reason := refusal():
            if not is_locked(self.lock) and self.find_process() is None:
                return False
            if time.monotonic() > deadline:
                raise self._failure(f"does not answer: {reason}")
            time.sleep(_POLL_SECONDS)
        return True

    def _launch(self, argv: list[str]) -> None:
        # The shell in between ends at once, so the engine is nobody's child here: no exit of ours leaves a
        # zombie, and whoever ends all its children does not end the engine. The session keeps Ctrl-C away.
        with self._inheritance() as (lock, log):
            _run(["/bin/sh", "-c", '"$@" &', "sh", *argv], lock, log)

    @contextmanager
    def _inheritance(self) -> Iterator[tuple[int, int]]:
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        lock = open_private(self.lock)
        log = open_private(self.log, os.O_WRONLY | os.O_APPEND)
        try:
            if not try_exclusive(lock):
                raise self._failure("is locked by another process")
            yield lock, log
        finally:
            # Closed, not unlocked: unlocking would unlock for the process that inherited it as well.
            os.close(lock)
            os.close(log)

    def _failure(self, what: str) -> EngineStartError:
        tail = "(no log)"
        with suppress(OSError):
            tail = self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip() or "(empty)"
        return EngineStartError(f"{self.name} {what}. The end of {self.log}:\n{tail}")


def terminate(process: psutil.Process, signals: tuple[Signals, ...]) -> None:
    """Send `signals` one after the other, half a minute apart, until the process is gone.

    A process that belongs to somebody else is left alone, and so is one that has taken over the pid.
    """
    for signal in signals:
        try:
            process.send_signal(signal)
        except psutil.Error:
            return
        if wait_until(lambda: _is_gone(process), _STOP_SECONDS):
            return


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until `condition` holds; False when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _is_gone(process: psutil.Process) -> bool:
    try:
        # A zombie has done everything but be reaped, which in a container may never happen.
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _run(argv: list[str], lock: int, log: int) -> int:
    # PGPORT, PGDATA and the like are meant for the user's own servers.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return subprocess.run(
        argv,
        pass_fds=(lock,),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",  # the account may not enter ours
        env=environment,
        umask=0o077,
        start_new_session=True,
        check=False,
    ).returncode
