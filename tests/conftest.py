"""What every test may ask for: the engines and databases of the testing kit, a key prefix, a `Holdfast`."""

import os
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from broker_queue import delete_keys
from databases import copied_database
from holdfast import Holdfast, Settings
from holdfast.testing import WorkerProcess
from long_first import long_first

pytest_plugins = ["holdfast.testing.fixtures"]

# The folder of the engines, which the kit has chosen by then.
HOME_VARIABLE = "HOLDFAST_TEST_HOME"
CONFIGURATION = ("DATABASE_URL", "REDIS_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL")


def pytest_configure(config):
    # A developer's own environment is not what the tests are about.
    for name in list(os.environ):
        if name in CONFIGURATION or (name.startswith("HOLDFAST_") and name != HOME_VARIABLE):
            del os.environ[name]


def pytest_collection_modifyitems(config, items):
    # In a process by itself they stay as they are read.
    if (processes := getattr(config, "workerinput", {}).get("workercount", 1)) > 1:
        items[:] = long_first(items, processes)


@pytest.fixture(scope="session")
def engines(holdfast_engines):
    return holdfast_engines


@pytest.fixture(scope="session")
def admin(holdfast_admin):
    return holdfast_admin


@pytest.fixture(scope="session")
def template(holdfast_template):
    return holdfast_template


@pytest.fixture
def database_url(holdfast_database_url):
    return holdfast_database_url


@pytest.fixture
def empty_database_url(admin, engines):
    """A database of the test's own with nothing in it."""
    with copied_database(admin, engines.database_url, "template1") as url:
        yield url


@pytest.fixture
def redis_url(engines):
    return engines.redis_url


@pytest.fixture
def redis_prefix(redis_url):
    """A prefix of the test's own for keys in the Valkey that all tests share."""
    yield (prefix := f"test-{uuid4().hex[:12]}:")
    with redis.Redis.from_url(redis_url) as client:
        delete_keys(client, prefix)


@pytest.fixture
def settings(database_url, redis_url, redis_prefix, tmp_path):
    return Settings(
        _env_file=None,
        database_url=database_url,
        redis_url=redis_url,
        key_prefix=redis_prefix,
        home=tmp_path / "home",
    )


@pytest.fixture
def environment(settings):
    """The environment that gives a subprocess the test's settings."""
    return os.environ | {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "HOLDFAST_KEY_PREFIX": settings.key_prefix,
        "HOLDFAST_HOME": str(settings.home),
        "PYTHONPATH": str(Path(__file__).parent),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def start_worker(environment, tmp_path):
    """Start workers on the test's database and Redis; none of them outlives the test.

    The defaults run `worker_tasks` with a short lease. Keywords are added to the environment. `by_celery` has
    them started as a user of Celery does, which takes longer.
    """
    workers = []

    def start(*arguments, app="worker_tasks", pool="prefork", concurrency=2, by_celery=False, **variables):
        variables = environment | {"HOLDFAST_LEASE_SECONDS": "2"} | variables
        command = [sys.executable, "-m", "holdfast", "worker", "--app", app, f"--pool={pool}"]
        if by_celery:
            variables["CELERY_CUSTOM_WORKER_POOL"] = "holdfast.celery.pool:AsyncioPool"
            custom = "custom" if pool == "asyncio" else pool
            command = [sys.executable, "-m", "celery", "-A", app, "worker", "-l", "info", f"--pool={custom}"]
        number = len(workers) + 1
        options = [f"--concurrency={concurrency}", f"--hostname=worker{number}@test", *arguments]
        log = tmp_path / f"worker-{number}.log"
        workers.append(worker := WorkerProcess(variables, log, [*command, *options]))
        return worker.await_ready()

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def holdfast(settings):
    """An application without tasks; what the test used of its async pool the test closes, on its loop."""
    yield (application := Holdfast(settings))
    application.database.close()


@pytest.fixture
def session(holdfast):
    with holdfast.database.session() as session:
        yield session
