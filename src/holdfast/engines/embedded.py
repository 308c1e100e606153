"""The engines of one data folder, shared by every process that uses the folder.

Nobody counts users. Each using process holds a shared kernel lock on `users.lock`; whoever leaves and then
gets that lock exclusively was the last one and stops the engines. A killed process loses its lock with its
life, so nothing goes stale. Starting and stopping take turns under `engines.lock`. Each engine in turn holds
a lock of its own (see `daemon`), so whether it runs is a fact of the kernel as well, not of a pid file.

Lock order: `engines.lock`, then `users.lock`, then an engine's lock.
"""

import atexit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psutil

from holdfast.engines import postgres, valkey
from holdfast.engines.account import account_for
from holdfast.engines.daemon import Daemon, terminate
from holdfast.engines.locks import Membership, exclusively
from holdfast.engines.sockets import prepare_sockets, recorded_sockets, remove_shelter
from holdfast.errors import EngineStartError


@dataclass(frozen=True)
class EngineUrls:
    """Where the embedded engines answer; `None` stands for an engine that was not asked for.

    `database_url` is in SQLAlchemy's form, `redis_url` in redis-py's (`unix://...`). Neither is shown, as
    those of configured servers take the place of these, with their passwords.
    """

    database_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)


class EmbeddedEngines:
    """PostgreSQL and Valkey under one data folder, shared by every process that uses the folder.

    The process that calls `start` is the user. Processes it forks are covered by it: they may use the
    engines, and their end neither stops nor releases anything. A fork that is to outlive its parent calls
    `start` itself and becomes a user of its own.

    Args:
        home: the data folder; made, for its owner's eyes only, when it does not exist.
        postgres: whether PostgreSQL is wanted.
        valkey: whether Valkey is wanted.
    """

    def __init__(self, home: Path, *, postgres: bool = True, valkey: bool = True) -> None:
        self._home = home.expanduser().resolve()
        self._wants_postgres = postgres
        self._wants_valkey = valkey
        self._membership: Membership | None = None
        self._found: list[tuple[Daemon, psutil.Process]] = []

    def start(self) -> EngineUrls:
        """Find the folder's engines or start them, and return once they answer; may be called again.

        Until `stop`, or the normal exit of this process, the engines stay up. An engine that has died
        meanwhile is started anew by the next call.

        Raises:
            EngineStartError: an engine did not answer within a minute; nothing this call started is left
                behind unless others use it. The message ends with the engine's log.
            ConfigurationError: the wheels that carry the engines are not installed.
        """
        if not (self._wants_postgres or self._wants_valkey):
            return EngineUrls()
        try:
            return self._start()
        except OSError as error:
            raise EngineStartError(
                f"The embedded engines cannot use {self._home}: {error}. Give a folder that this user owns, "
                f"on a local disk, or set DATABASE_URL and REDIS_URL."
            ) from error

    def revive(self) -> bool:
        """Start engines anew that have died since `start`; whether any had. Cheap to ask often.

        Raises:
            EngineStartError: as `start`.
        """
        # Of a folder that was removed nothing is known any more: what runs may go on running.
        if self._membership is None or not self._membership.is_current():
            return False
        if all(daemon.find_process() for daemon, _ in self._found):
            return False
        self.start()
        return True

    def stop(self) -> None:
        """Leave the folder; the last process that leaves stops its engines. Does nothing when not started.

        Guaranteed to run at a normal exit, which includes Ctrl-C and a handled SIGTERM. After SIGKILL the
        engines stay up until the next process that uses the folder leaves it.
        """
        membership = self._membership
        if membership is None or membership.is_inherited:
            return
        if not membership.is_current():
            self._leave_removed_folder(membership)
            return
        with exclusively(self._home / "engines.lock"):
            self._leave(membership)

    def __enter__(self) -> EngineUrls:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> EngineUrls:
        if self._membership and not self._membership.is_current():
            self.stop()
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusively(self._home / "engines.lock"), self._joined():
            account = account_for(self._home)
            sockets = prepare_sockets(self._home, account)
            urls = EngineUrls(
                database_url=postgres.start(self._home, sockets, account) if self._wants_postgres else None,
                redis_url=valkey.start(self._home, sockets, account) if self._wants_valkey else None,
            )
            found = [(daemon, daemon.find_process()) for daemon in self._daemons(sockets)]
            self._found = [(daemon, process) for daemon, process in found if process]
        return urls

    @contextmanager
    def _joined(self) -> Iterator[None]:
        with ExitStack() as undo:
            if self._membership is None or self._membership.is_inherited:
                if self._membership:
                    self._membership.disown()
                membership = self._membership = Membership.join(self._home / "users.lock")
                undo.callback(self._leave, membership)
                atexit.register(self.stop)
            yield
            undo.pop_all()

    def _leave(self, membership: Membership) -> None:
        self._membership = None
        atexit.unregister(self.stop)
        with membership.leaving() as was_last:
            if was_last:
                sockets = recorded_sockets(self._home)
                for daemon in self._daemons(sockets):
                    daemon.stop()
                remove_shelter(self._home)

    def _leave_removed_folder(self, membership: Membership) -> None:
        # The folder was deleted under the running engines (`make clean`): no pid file leads to them any
        # more, only what this process remembers.
        self._membership = None
        atexit.unregister(self.stop)
        with membership.leaving() as was_last:
            if was_last:
                for daemon, process in self._found:
                    terminate(process, daemon.stop_signals)

    def _daemons(self, sockets: Path) -> tuple[Daemon, Daemon]:
        return postgres.daemon(self._home, sockets), valkey.daemon(self._home, sockets)
