"""The `holdfast` command as a process, in a folder of its own."""

import os
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
