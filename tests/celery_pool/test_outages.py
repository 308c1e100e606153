"""Broker and result backend away: what goes on meanwhile, and afterwards."""

import subprocess
from contextlib import suppress
from signal import SIGCONT, SIGSTOP

import pytest
import redis

from holdfast.engines.binaries import valkey_server
from waiting import wait_for


class OwnValkey:
    """A Valkey that a test may stop, freeze and start again; what it holds is on disk."""

    def __init__(self, folder):
        self.folder = folder
        self.url = f"unix://{folder}/valkey.sock?db=0"
        self.start()

    def start(self):
        options = ["--port", "0", "--unixsocket", f"{self.folder}/valkey.sock", "--dir", str(self.folder)]
        files = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        log = (self.folder / "valkey.log").open("ab")
        self._popen = subprocess.Popen([str(valkey_server()), *options, *files], stdout=log, stderr=log)
        wait_for(self._answers, "the start of Valkey")

    def _answers(self):
        with suppress(redis.ConnectionError), redis.Redis.from_url(self.url) as client:
            return client.ping()

    def freeze(self):
        self._popen.send_signal(SIGSTOP)

    def thaw(self):
        self._popen.send_signal(SIGCONT)

    def kill(self):
        self._popen.kill()
        self._popen.wait()


@pytest.fixture
def valkey(tmp_path):
    yield (valkey := OwnValkey(tmp_path))
    valkey.kill()


def test_coroutines_go_on_while_the_result_backend_hangs(make_app, valkey):
    app = make_app(backend_url=valkey.url)
    worker = app.start_worker(concurrency=20).await_ready()
    ticking = app.send("tick", "ticking")
    finished = [app.send("at_gate", f"gate-{number}") for number in range(8)]
    for number in range(8):
        app.await_lines(f"gate-{number}.arrived")
    valkey.freeze()
    for number in range(8):
        app.open(f"gate-{number}")
        app.await_lines(f"gate-{number}.done")
    app.await_lines("ticking.ticks", len(app.lines("ticking.ticks")) + 20)
    valkey.thaw()
    assert [app.get(result) for result in finished] == [f"gate-{number}" for number in range(8)]
    app.open("ticking")
    app.get(ticking)
    assert app.inspect(worker, "stats")["pool"]["blocked the loop"] == {}
    app.close()


def test_coroutines_go_on_while_the_result_backend_hangs_over_what_was_lost(make_app, valkey):
    app = make_app(backend_url=valkey.url)
    worker = app.start_worker(concurrency=20).await_ready()
    ticking, lost = app.send("tick", "ticking"), app.send("lose_itself")
    app.await_lines(f"{lost.id}.arrived")
    app.await_lines("ticking.ticks")
    valkey.freeze()
    app.open(lost.id)
    app.await_lines("ticking.ticks", len(app.lines("ticking.ticks")) + 60)
    assert "ValueError" not in worker.log  # Celery tells of it when it has told its backend
    valkey.thaw()
    with pytest.raises(ValueError, match="lost"):
        app.get(lost)
    app.open("ticking")
    app.get(ticking)
    assert app.inspect(worker, "stats")["pool"]["blocked the loop"] == {}
    app.close()


def test_a_worker_goes_on_after_its_broker_was_restarted(make_app, valkey):
    app = make_app(broker_url=valkey.url)
    worker = app.start_worker(concurrency=2).await_ready()
    running = [app.send(name, name) for name in ("at_gate", "at_gate_in_process")]
    for name in ("at_gate", "at_gate_in_process"):
        app.await_lines(f"{name}.arrived")
    valkey.kill()
    wait_for(lambda: "Connection to broker lost" in worker.log, "the loss")
    valkey.start()
    for name in ("at_gate", "at_gate_in_process"):
        app.open(name)
    assert app.get(running[0]) == "at_gate"
    for number in range(4):  # more than there are slots
        app.open(f"{number}")
        assert app.run("at_gate", f"{number}") == f"{number}"
        assert app.run("at_gate_in_process", f"{number}") in worker.children()
    app.close()
