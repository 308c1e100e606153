"""PostgreSQL and Valkey of a run: the embedded ones, in a folder of their own, and how they are harmed."""

import shutil
import socket
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from urllib.parse import parse_qs, unquote, urlsplit

import psutil

from holdfast.engines import EmbeddedEngines, EngineUrls, postgres, valkey
from holdfast.engines.daemon import Daemon, wait_until
from holdfast.engines.sockets import recorded_sockets

_END_SECONDS = 30
_ANSWER_SECONDS = 10


class Engines:
    """The engines of a data folder, which nobody else uses.

    Args:
        home: the data folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._embedded = EmbeddedEngines(home)
        self._stopped: psutil.Process | None = None

    def start(self) -> EngineUrls:
        """Start what does not run; returns once both answer."""
        return self._embedded.start()

    def stop(self) -> None:
        """Stop both."""
        self.wake_valkey()
        self._embedded.stop()

    @property
    def postgres_socket(self) -> str:
        """The path of PostgreSQL's socket."""
        parameters = parse_qs(urlsplit(str(self.start().database_url)).query)
        return f"{parameters['host'][0]}/.s.PGSQL.{parameters['port'][0]}"

    @property
    def valkey_socket(self) -> str:
        """The path of Valkey's socket."""
        return unquote(urlsplit(str(self.start().redis_url)).path)

    def end_postgres(self, signal: Signals) -> None:
        """Send its first process a signal and wait until it has ended; `start` brings it back."""
        self._end(self._daemons()[0], signal)

    def kill_valkey(self, *, forget: bool) -> None:
        """SIGKILL; with `forget` what it has on disk is removed as well. `start` brings it back."""
        self._end(self._daemons()[1], SIGKILL)
        if forget:
            for path in (self._home / "valkey").iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def hang_valkey(self) -> None:
        """Let it accept connections and never answer, until `wake_valkey`."""
        self._stopped = self._daemons()[1].find_process()
        if self._stopped is not None:
            self._stopped.send_signal(SIGSTOP)

    def wake_valkey(self) -> None:
        """Let it go on."""
        if self._stopped is not None and self._stopped.is_running():
            self._stopped.send_signal(SIGCONT)
        self._stopped = None

    def flush_valkey(self) -> None:
        """Remove every key."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(self.valkey_socket)
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(64)

    def _daemons(self) -> tuple[Daemon, Daemon]:
        sockets = recorded_sockets(self._home)
        return postgres.daemon(self._home, sockets), valkey.daemon(self._home, sockets)

    def _end(self, daemon: Daemon, signal: Signals) -> None:
        process = daemon.find_process()
        if process is not None:
            process.send_signal(signal)
            wait_until(lambda: daemon.find_process() is None, _END_SECONDS)
