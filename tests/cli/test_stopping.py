"""Whatever ends a command in the middle, what it started ends with it."""

import signal
import subprocess
import sys

import httpx
import psutil
import pytest

from commands import HOLDFAST, is_alive, processes_of
from holdfast.cli.services import Service, running
from waiting import wait_for

pytestmark = pytest.mark.timeout(300)

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def stubborn(folder):
    """Two services that do not end when they are asked to."""

    def make(name):
        service = Service(name, [], folder=folder)
        service._arguments = [sys.executable, "-c", STUBBORN]
        return service

    return [make("first"), make("second")]


def test_another_ctrl_c_ends_what_does_not_end_by_itself(stubborn, folder, monkeypatch):
    waits = []
    wait = subprocess.Popen.wait

    def impatient(process, timeout=None):
        waits.append(timeout)
        if timeout is not None:
            raise KeyboardInterrupt
        return wait(process)

    try:
        with running(stubborn):
            for service in stubborn:
                log = folder / f"{service.name}.log"
                wait_for(lambda log=log: "ready" in log.read_text(), "the services")
            monkeypatch.setattr(subprocess.Popen, "wait", impatient)
    except KeyboardInterrupt:  # which would end all tests
        pytest.fail("not all were stopped")
    assert [service.exit_code for service in stubborn] == [-signal.SIGKILL] * 2
    assert waits.count(None) == 2


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_demo_that_is_ended_leaves_nothing_running(folder, environment, sign):
    output = folder / "demo.log"
    with output.open("wb") as log:
        demo = subprocess.Popen(
            [HOLDFAST, "demo"], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    wait_for(lambda: "processes of their own" in output.read_text(), "the services", seconds=120)
    started = psutil.Process(demo.pid).children(recursive=True) + processes_of(folder)
    demo.send_signal(sign)
    assert demo.wait(90) == 130
    wait_for(lambda: not any(is_alive(process) for process in started), "the end of all processes")


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_an_api_that_is_ended_leaves_no_engines_running(folder, environment, port, sign):
    api = subprocess.Popen(
        [HOLDFAST, "api", "--port", str(port)], cwd=folder, env=environment, start_new_session=True
    )
    wait_for(lambda: answers(f"http://127.0.0.1:{port}/readyz"), "the API", seconds=120)
    assert len(processes_of(folder)) >= 2
    api.send_signal(sign)
    assert api.wait(60) == 0
    wait_for(lambda: not processes_of(folder), "the end of the engines")


def answers(url):
    try:
        return httpx.get(url).status_code == 503  # nothing was migrated
    except httpx.TransportError:
        return False
