"""Each service's command, run as its file says and watched by its own health check."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deploy.descriptions import GIVEN, compose_services, procfile_services
from holdfast.engines.binaries import valkey_server
from waiting import wait_for

HEALTHY_SECONDS = 90
CHECK_SECONDS = 30
STOP_SECONDS = 30
pytestmark = pytest.mark.timeout(240)
# uvicorn stops in order and then ends by the signal it was sent, as its supervisor expects.
STOPPED = (0, -signal.SIGTERM)

SERVICES = {service.name: service for service in compose_services()}
PROCFILE = {service.name: service for service in procfile_services()}


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def container(environment, port, tmp_path):
    """What a container would be given, with the test's engines, ports and folder in place of the file's."""
    here = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOSTNAME": socket.gethostname(),
        "PORT": str(port),
        "FLOWER_PORT": str(port),
        "FLOWER_ADDRESS": "127.0.0.1",
    }

    def of(service):
        given = {name: value for name, value in service.environment.items() if value is not None}
        return given | environment | here

    (tmp_path / "working folder").mkdir()
    return of


@pytest.fixture
def start(container, tmp_path):
    """Run a service until the end of the block; its log is kept beside the test."""

    @contextmanager
    def running(service):
        argv = [word.replace("0.0.0.0", "127.0.0.1") for word in service.argv]
        argv = ["sh", "-c", "exec " + " ".join(argv)] if "$PORT" in argv else argv
        log = tmp_path / f"{service.name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                argv,
                env=container(service),
                cwd=tmp_path / "working folder",
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield Running(service, popen, log, container(service))
            finally:
                end(popen)

    return running


class Running:
    def __init__(self, service, popen, log, environment):
        self.service = service
        self.popen = popen
        self.log = log
        self._environment = environment

    def is_healthy(self):
        assert self.popen.poll() is None, self.log.read_text()
        how = {"env": self._environment, "capture_output": True, "timeout": CHECK_SECONDS, "check": True}
        try:
            subprocess.run(self.service.check, **how)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
        return True

    def await_health(self):
        wait_for(self.is_healthy, f"{self.service} to be healthy", HEALTHY_SECONDS)

    def stop(self):
        self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.service} did not end within {STOP_SECONDS} s:\n{self.log.read_text()}")


def end(popen):
    if popen.poll() is None:
        for process in [*psutil.Process(popen.pid).children(recursive=True), psutil.Process(popen.pid)]:
            process.kill()
        popen.wait()


def children_of(popen):
    return psutil.Process(popen.pid).children(recursive=True)


def status(port, path, login=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if login:
        request.add_header("Authorization", "Basic " + b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_migrate_ends_by_itself_and_may_be_repeated(start, empty_database_url, environment):
    environment["DATABASE_URL"] = empty_database_url
    for _ in range(2):
        with start(SERVICES["migrate"]) as migrate:
            assert migrate.popen.wait(HEALTHY_SECONDS) == 0, migrate.log.read_text()


@pytest.mark.parametrize("service", [SERVICES["api"], PROCFILE["web"]], ids=str)
def test_the_api_becomes_healthy_and_stops_on_sigterm(start, service, port):
    with start(service) as api:
        api.service = SERVICES["api"]  # the Procfile has no check of its own
        api.await_health()

        assert status(port, "/readyz") == 200
        assert status(port, "/v1/jobs") == 401
        assert api.stop() in STOPPED, api.log.read_text()


def test_the_worker_becomes_healthy_and_stops_on_sigterm_with_its_children(start):
    with start(SERVICES["worker"]) as worker:
        worker.await_health()
        children = children_of(worker.popen)

        assert len(children) == 2
        assert worker.stop() == 0, worker.log.read_text()
        assert not any(child.is_running() for child in children)


def test_the_workers_check_fails_when_the_worker_does_not_answer(start, container):
    check = SERVICES["worker"]
    run = subprocess.run(
        check.check,
        env=container(check) | {"HOSTNAME": "elsewhere"},
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert run.returncode != 0


def test_flower_sees_the_worker_and_stops_on_sigterm(start, port):
    login = GIVEN["FLOWER_BASIC_AUTH"]
    with start(SERVICES["worker"]) as worker, start(SERVICES["flower"]) as flower:
        flower.await_health()
        worker.await_health()

        node = f"/worker/celery@{socket.gethostname()}"
        wait_for(lambda: status(port, node, login) == 200, "Flower to see the worker")
        assert flower.stop() == 0, flower.log.read_text()


def test_flower_asks_for_the_login_except_for_health_and_metrics(start, port):
    with start(SERVICES["flower"]) as flower:
        flower.await_health()
        login = GIVEN["FLOWER_BASIC_AUTH"]

        assert {path: status(port, path) for path in ("/", "/tasks", "/api/workers")} == {
            "/": 401, "/tasks": 401, "/api/workers": 401,
        }  # fmt: skip
        assert status(port, "/tasks", "operator:wrong") == 401
        assert status(port, "/tasks", login) == 200
        assert status(port, "/metrics") == status(port, "/healthcheck") == 200


def test_valkey_takes_its_options_keeps_everything_and_evicts_nothing(port, tmp_path):
    import redis

    _, *options = SERVICES["valkey"].argv
    here = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(tmp_path)]
    popen = subprocess.Popen([valkey_server(), *options, *here], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port, decode_responses=True)
        wait_for(lambda: is_answering(client), "Valkey to answer")

        assert client.config_get("appendonly", "save", "maxmemory-policy", "maxmemory") == {
            "appendonly": "yes", "save": "", "maxmemory-policy": "noeviction", "maxmemory": str(256 << 20),
        }  # fmt: skip
        popen.send_signal(signal.SIGTERM)
        assert popen.wait(STOP_SECONDS) == 0
    finally:
        end(popen)


def is_answering(client):
    import redis

    try:
        return client.ping()
    except redis.ConnectionError:
        return False
