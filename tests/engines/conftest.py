import os
import pwd
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from holdfast.engines import postgres, valkey
from holdfast.engines.binaries import valkey_server
from holdfast.engines.daemon import wait_until
from holdfast.engines.sockets import recorded_sockets

DEADLINE_SECONDS = 30
PROGRAM = Path(__file__).with_name("user_program.py")


class Engines:
    """What really runs for a data folder, seen from outside."""

    def __init__(self, home):
        self.home = home

    def processes(self):
        sockets = recorded_sockets(self.home)
        daemons = (postgres.daemon(self.home, sockets), valkey.daemon(self.home, sockets))
        return [process for daemon in daemons if (process := daemon.find_process())]

    def pids(self):
        return [process.pid for process in self.processes()]

    def with_children(self):
        found = self.processes()
        return [member for process in found for member in (process, *process.children(recursive=True))]

    def kill(self):
        kill(self.with_children())


def kill(processes):
    for process in processes:
        process.kill()
    wait_for_end(processes)


def wait_for_end(processes):
    assert wait_until(lambda: all(map(is_over, processes)), DEADLINE_SECONDS)


def is_over(process):
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass
class UserProcess:
    """A process that uses a data folder, the first of a process group of its own."""

    popen: subprocess.Popen

    def await_start(self):
        assert self.popen.stdout.readline() == "started\n"
        return self

    def leave(self):
        self.popen.stdin.close()
        assert self.popen.wait(DEADLINE_SECONDS) == 0

    def press_ctrl_c(self):
        os.killpg(self.popen.pid, signal.SIGINT)
        self.popen.wait(DEADLINE_SECONDS)

    def kill(self):
        self.popen.kill()
        self.popen.wait(DEADLINE_SECONDS)


@pytest.fixture
def wait_for_end_of():
    return wait_for_end


@pytest.fixture
def connect():
    return lambda urls: psycopg.connect(urls.database_url.replace("+psycopg", ""), autocommit=True)


@pytest.fixture
def valkey_client():
    return lambda urls: redis.Redis.from_url(urls.redis_url, decode_responses=True)


@pytest.fixture
def assert_answer(connect, valkey_client):
    def check(urls):
        with connect(urls) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert valkey_client(urls).ping()

    return check


@pytest.fixture
def home(tmp_path):
    """A data folder's path; no engine of it survives the test."""
    yield (home := tmp_path / "data")
    Engines(home).kill()


@pytest.fixture
def running(home):
    return Engines(home)


@pytest.fixture
def engines_of():
    return Engines


@pytest.fixture
def spawn():
    """Start user processes, which do not outlive the test."""
    with ExitStack() as stack:

        def start(home, *arguments):
            popen = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(home), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            stack.enter_context(popen)
            stack.callback(popen.kill)
            return UserProcess(popen)

        yield start


@pytest.fixture
def nobody():
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    account = pwd.getpwnam("nobody")
    probe = ["test", "-x", str(valkey_server())]
    if subprocess.run(probe, user=account.pw_uid, group=account.pw_gid, extra_groups=[]).returncode:
        pytest.skip("the virtual environment is where only root may enter")
    return account


@pytest.fixture
def owned_home(nobody):
    """Make an empty data folder that another user owns and can reach."""
    with ExitStack() as stack:

        def make(uid, gid):
            parent = stack.enter_context(tempfile.TemporaryDirectory())
            Path(parent).chmod(0o755)
            home = Path(parent).resolve() / "data"
            home.mkdir(mode=0o700)
            os.chown(home, uid, gid)
            stack.callback(Engines(home).kill)
            return home

        yield make
