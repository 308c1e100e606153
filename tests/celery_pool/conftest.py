"""Plain Celery workers on the asyncio pool, and a client that sends them tasks by name."""

import json
import os
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from celery import Celery

from broker_queue import delete_keys
from holdfast.celery.configuration import kombu_url
from holdfast.testing import WorkerProcess
from waiting import wait_for

POOL = "holdfast.celery.pool:AsyncioPool"
RESULT_SECONDS = 20


class PoolApp:
    """A broker, a result backend and a folder; workers on them, and what these leave there."""

    def __init__(self, folder, broker_url, backend_url=None):
        self.folder = folder
        self.prefix = f"test-{uuid4().hex[:12]}:"
        self.broker, self.backend = kombu_url(broker_url), kombu_url(backend_url or broker_url)
        self.workers = []
        self.celery = Celery(broker=self.broker, backend=self.backend, set_as_current=False)
        self.celery.conf.update(self._configuration())

    def start_worker(self, *options, concurrency=20, environment=None, **configuration):
        number = len(self.workers) + 1
        name = f"worker{number}@{self.prefix[:-1]}"
        command = [sys.executable, "-m", "celery", "-A", "pool_tasks", "worker", "--loglevel=info", "-E"]
        settings = [
            "--pool=custom",
            "--without-mingle",
            "--without-gossip",
            f"--concurrency={concurrency}",
            f"--hostname={name}",
        ]
        variables = self._environment(configuration) | (environment or {})
        log = self.folder / f"worker-{number}.log"
        self.workers.append(worker := WorkerProcess(variables, log, [*command, *settings, *options]))
        worker.name = name
        return worker

    def _environment(self, configuration):
        return os.environ | {
            "CELERY_CUSTOM_WORKER_POOL": POOL,
            "POOL_BROKER": self.broker,
            "POOL_BACKEND": self.backend,
            "POOL_CONFIGURATION": json.dumps(self._configuration() | configuration),
            "POOL_FOLDER": str(self.folder),
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "PYTHONUNBUFFERED": "1",
        }

    def _configuration(self):
        return {
            "task_acks_late": True,
            "task_track_started": True,
            "worker_prefetch_multiplier": 1,
            "broker_connection_retry_on_startup": True,
            "worker_lost_wait": 1,
            "broker_transport_options": {
                "global_keyprefix": self.prefix,
                "visibility_timeout": 60,
                "unacked_restore_interval": 1,
                "unacked_restore_throttle": 1,
            },
            "result_backend_transport_options": {"global_keyprefix": self.prefix},
        }

    def signature(self, name, *args, **options):
        return self.celery.signature(f"pool_tasks.{name}", args=args, options=options)

    def send(self, name, *args, **options):
        return self.signature(name, *args, **options).apply_async()

    def get(self, result, **options):
        return result.get(timeout=RESULT_SECONDS, **options)

    def run(self, name, *args, **options):
        return self.get(self.send(name, *args, **options))

    def lines(self, file):
        path = self.folder / file
        return path.read_text().splitlines() if path.exists() else []

    def await_lines(self, file, count=1):
        wait_for(lambda: len(self.lines(file)) >= count, f"{count} lines of {file}")
        return self.lines(file)

    def open(self, gate):
        (self.folder / f"{gate}.open").touch()

    def signals(self, task_id):
        """The signals of one execution, with the names of their senders, as they came."""
        return [tuple(rest) for id_, *rest in map(json.loads, self.lines("signals")) if id_ == task_id]

    def inspect(self, worker, what):
        answer = getattr(self.celery.control.inspect([worker.name], timeout=5), what)()
        return answer[worker.name]

    def close(self):
        for worker in self.workers:
            worker.kill()
        self.celery.close()


@pytest.fixture(scope="session")
def make_app(engines, tmp_path_factory):
    """Make a `PoolApp` on the common Valkey, or on one of the test's own."""
    apps = []

    def make(broker_url=None, backend_url=None):
        common = engines.redis_url
        apps.append(
            app := PoolApp(tmp_path_factory.mktemp("pool"), broker_url or common, backend_url or common)
        )
        return app

    yield make
    with redis.Redis.from_url(engines.redis_url) as client:
        for app in apps:
            app.close()
            delete_keys(client, app.prefix)


@pytest.fixture(scope="session")
def common(make_app):
    """An app and a worker of 20 for all tests that leave them as they were."""
    app = make_app()
    app.worker = app.start_worker(concurrency=20).await_ready()
    return app


@pytest.fixture
def app(make_app):
    """An app of the test's own."""
    yield (app := make_app())
    app.close()


@pytest.fixture
def gate():
    """A name of the test's own for where its tasks wait."""
    return uuid4().hex
