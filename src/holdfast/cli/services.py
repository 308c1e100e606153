"""API and worker as child processes of a command."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from holdfast.errors import EngineStartError

STOP_SECONDS = 30
START_SECONDS = 60


class Service:
    """A `holdfast` command that runs as a process of its own.

    It gets its own session: a Ctrl-C in the terminal reaches the command that started it, which then stops
    its services in order.

    Args:
        name: what it is called in messages.
        arguments: of the `holdfast` command.
        env: added to this process's environment.
        folder: where it works and leaves its output, as `<name>.log`; here, and to here, if not given.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self._arguments = [sys.executable, "-m", "holdfast", *arguments]
        self._env = {**os.environ, **(env or {})}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process."""
        with contextlib.ExitStack() as stack:
            output = None
            if self._folder is not None:
                output = stack.enter_context((self._folder / f"{self.name}.log").open("ab"))
            self._process = subprocess.Popen(
                self._arguments,
                env=self._env,
                cwd=self._folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """The exit code once it has ended."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """Ask it to end, and end it after half a minute or when the user insists with another Ctrl-C."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def running(services: Sequence[Service]) -> Iterator[None]:
    """Run services for the length of the block; the last started is stopped first."""
    # A stack, so that all are stopped whatever happens while one of them is.
    with contextlib.ExitStack() as started:
        for service in services:
            started.callback(service.stop)
            service.start()
        yield


def end_as_by_ctrl_c() -> None:
    """Let SIGTERM, and SIGHUP when the terminal is closed, end this command as Ctrl-C does.

    Services and engines are out of reach of the terminal: nobody else would stop them.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` leaves it
            signal.signal(number, _interrupt)


def supervise(services: Sequence[Service], revive: Callable[[], bool], tell: Callable[[str], None]) -> None:
    """Start a service again when it ends by itself, after a pause; runs until interrupted.

    Args:
        services: the services.
        revive: starts engines anew that have died; whether any had.
        tell: is told of what was started again, in a line.

    Raises:
        EngineStartError: a service ended five times within a minute, or an engine does not start.
    """
    ends: dict[str, list[float]] = {service.name: [] for service in services}
    while True:
        for service in services:
            if service.exit_code is None:
                continue
            recent = [end for end in ends[service.name] if end > time.monotonic() - 60]
            ends[service.name] = [*recent, time.monotonic()]
            if len(recent) >= 4:
                raise EngineStartError(f"{service.name} keeps ending (exit code {service.exit_code}).")
            tell(f"{service.name} ended with exit code {service.exit_code}; starting it again")
            service.start()
        if revive():
            tell("an engine had ended; it was started again")
        time.sleep(1)


def wait_until_ready(url: str, services: Sequence[Service]) -> None:
    """Wait until the API answers.

    Raises:
        EngineStartError: a service ended, or a minute has passed.
    """
    import httpx

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for service in services:
            if service.exit_code is not None:
                raise EngineStartError(f"{service.name} ended with exit code {service.exit_code}.")
        with contextlib.suppress(httpx.TransportError):
            # On this machine, where no proxy of the environment leads.
            if httpx.get(f"{url}/readyz", timeout=2, trust_env=False).is_success:
                return
        time.sleep(0.1)
    raise EngineStartError(f"The API did not answer at {url} within {START_SECONDS} seconds.")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
