"""The embedded Valkey: its settings, and the few bytes of its protocol that ask whether it answers."""

import socket
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGTERM
from urllib.parse import quote

from holdfast.engines.account import Account
from holdfast.engines.binaries import valkey_server
from holdfast.engines.daemon import Daemon

_ANSWER_SECONDS = 5.0


def daemon(home: Path, sockets: Path) -> Daemon:
    """Describe the Valkey of a data folder."""
    data = home / "valkey"
    return Daemon(
        name="Valkey",
        data=data,
        pid_file=data / "valkey.pid",
        leftovers=(data / "valkey.pid", _socket_path(sockets)),
        stop_signals=(SIGTERM, SIGKILL),
    )


def start(home: Path, sockets: Path, account: Account) -> str:
    """Find or start the folder's Valkey; return its URL in redis-py's form.

    Raises:
        EngineStartError: it did not start.
        ConfigurationError: it is not installed.
    """
    server = daemon(home, sockets)
    account.make_folder(server.data)
    argv = [str(valkey_server()), *_options(server, sockets)]
    server.ensure_running(argv, account, partial(_refusal, _socket_path(sockets)))
    return f"unix://{quote(str(_socket_path(sockets)), safe='/')}?db=0"


def _socket_path(sockets: Path) -> Path:
    return sockets / "valkey.sock"


def _options(server: Daemon, sockets: Path) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(_socket_path(sockets)),
        "unixsocketperm": "700",
        "dir": str(server.data),
        "pidfile": str(server.pid_file),
        "set-proc-title": "no",  # the command line must keep naming the data folder
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


def _refusal(path: Path) -> str | None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            reply = connection.recv(256)
    except OSError as error:
        return str(error)
    # While it loads its data it answers "-LOADING ..."
    return None if reply.startswith(b"+PONG") else reply.decode(errors="replace").strip() or "no answer"
