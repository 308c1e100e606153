"""PostgreSQL and Valkey of a run: the embedded ones, in a folder of their own, and how they are harmed."""

import shutil
import socket
from functools import cached_property
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
        # Apart, so that one can be started while the other is hurt.
        self._postgres = EmbeddedEngines(home, valkey=False)
        self._valkey = EmbeddedEngines(home, postgres=False)
        self._stopped: psutil.Process | None = None

    def start(self) -> EngineUrls:
        """Start what does not run; returns once both answer."""
        return EngineUrls(self.start_postgres(), self.start_valkey())

    def start_postgres(self) -> str:
        """Start PostgreSQL if it does not run; returns its URL."""
        return str(self._postgres.start().database_url)

    def start_valkey(self) -> str:
        """Start Valkey if it does not run; returns its URL."""
        return str(self._valkey.start().redis_url)

    def stop(self) -> None:
        """Stop both."""
        self.wake_valkey()
        self._valkey.stop()
        self._postgres.stop()

    @cached_property
    def postgres_socket(self) -> str:
        """The path of PostgreSQL's socket."""
        parameters = parse_qs(urlsplit(self.start_postgres()).query)
        return f"{parameters['host'][0]}/.s.PGSQL.{parameters['port'][0]}"

    @cached_property
    def valkey_socket(self) -> str:
        """The path of Valkey's socket."""
        return unquote(urlsplit(self.start_valkey()).path)

    def end_postgres(self, signal: Signals) -> None:
        """Send its first process a signal and wait until it has ended; `start_postgres` brings it back."""
        self._end(self._daemons()[0], signal)

    def kill_valkey(self, *, forget: bool) -> None:
        """SIGKILL; with `forget` what it has on disk is removed as well. `start_valkey` brings it back."""
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
