"""The network that can be cut: what a client sees of each cut, and that it is whole again afterwards."""

import socket
import threading

import pytest

from holdfast.chaos.proxy import Network
from holdfast.testing import wait_for


@pytest.fixture
def echo(tmp_path):
    """The path of a Unix socket that gives everything back."""
    path = str(tmp_path / "echo.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    yield path
    server.close()


def serve(server):
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=give_back, args=(connection,), daemon=True).start()


def give_back(connection):
    with connection:
        while data := connection.recv(1024):
            connection.sendall(data)


@pytest.fixture
def link(echo):
    network = Network()
    yield network.link(echo)
    network.close()


def connect(link):
    return socket.create_connection(("127.0.0.1", link.port), timeout=5)


def ask(connection, question=b"ahoy"):
    connection.sendall(question)
    return connection.recv(1024)


def test_link_carries_both_ways(link):
    with connect(link) as connection:
        assert ask(connection) == b"ahoy"


def test_refusing_link_ends_connections_and_takes_none_until_it_is_restored(link):
    with connect(link) as connection:
        assert ask(connection) == b"ahoy"
        link.refuse()
        assert read(connection) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(link)
    link.restore()
    with connect(link) as connection:
        assert ask(connection) == b"ahoy"


def test_silent_link_delivers_late_what_was_sent_meanwhile(link):
    with connect(link) as connection:
        assert ask(connection) == b"ahoy"
        link.fall_silent()
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(connection, b"anybody?")
        link.restore()
        connection.settimeout(5)
        assert connection.recv(1024) == b"anybody?"


def test_link_to_nowhere_ends_each_connection(link, echo, tmp_path):
    (tmp_path / "echo.sock").unlink()
    with connect(link) as connection:
        connection.settimeout(5)
        assert wait_for(lambda: [read(connection)], "the end") == [b""]


def read(connection):
    try:
        return connection.recv(1)
    except ConnectionResetError:
        return b""
