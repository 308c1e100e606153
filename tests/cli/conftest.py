"""The `holdfast` command as a process, in a folder of its own."""

import contextlib
import os
import pty
import socket
import subprocess

import pytest

from commands import HOLDFAST


@pytest.fixture
def folder(tmp_path):
    """Where the commands are run, and keep their data."""
    return tmp_path


@pytest.fixture
def environment(folder):
    """A user's environment with nothing configured but where the data goes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return {**inherited, "HOLDFAST_HOME": str(folder / "data"), "COLUMNS": "200"}


@pytest.fixture
def run(folder, environment):
    """Run a command to its end."""

    def run(*arguments, seconds=90):
        return subprocess.run(
            [HOLDFAST, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    return run


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def run_on_terminal(folder, environment):
    """Run a command to its end on a terminal; returns all that this was sent."""

    def run(*arguments, seconds=90):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [HOLDFAST, *arguments],
            cwd=folder,
            env=environment | {"TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as screen:
            sent = b"".join(_pieces(screen))
        process.wait(seconds)
        return sent.decode()

    return run


def _pieces(screen):
    # A terminal that its last writer has left is an error to read.
    with contextlib.suppress(OSError):
        while piece := screen.read(65_536):
            yield piece
