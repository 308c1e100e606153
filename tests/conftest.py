"""The engines all tests share, and what a test gets of its own: a database, a key prefix, a `Holdfast`."""

import os
import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis

from broker_queue import delete_keys
from databases import conninfo, copied_database, migrate, named
from holdfast import Holdfast, Settings
from holdfast.engines import EmbeddedEngines
from holdfast.engines.locks import is_locked
from worker_process import WorkerProcess

# Inherited by the processes of pytest-xdist, which thereby share one PostgreSQL and one Valkey.
HOME_VARIABLE = "HOLDFAST_TEST_HOME"
TEMPLATE = "holdfast_template"
CONFIGURATION = ("DATABASE_URL", "REDIS_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL")


def pytest_configure(config):
    # A developer's own environment is not what the tests are about.
    for name in list(os.environ):
        if name in CONFIGURATION or (name.startswith("HOLDFAST_") and name != HOME_VARIABLE):
            del os.environ[name]
    if not hasattr(config, "workerinput"):
        os.environ[HOME_VARIABLE] = tempfile.mkdtemp(prefix="holdfast-tests-")


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        home = Path(os.environ.pop(HOME_VARIABLE))
        stop_survivors(home / "engines")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def engines():
    """The URLs of a PostgreSQL and a Valkey that live as long as any process of this test run."""
    embedded = EmbeddedEngines(Path(os.environ[HOME_VARIABLE]) / "engines")
    with embedded as urls:
        yield urls


@pytest.fixture(scope="session")
def admin(engines):
    """A connection that makes and drops databases."""
    with psycopg.connect(conninfo(engines.database_url), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def template(admin, engines):
    """The name of a migrated database that nobody connects to, so that it can be copied."""
    admin.execute("SELECT pg_advisory_lock(1)")
    try:
        if not admin.execute("SELECT FROM pg_database WHERE datname = %s", [TEMPLATE]).rowcount:
            admin.execute("CREATE DATABASE unfinished_template")
            migrate(named(engines.database_url, "unfinished_template"))
            admin.execute("ALTER DATABASE unfinished_template ALLOW_CONNECTIONS false")
            admin.execute(f"ALTER DATABASE unfinished_template RENAME TO {TEMPLATE}")
    finally:
        admin.execute("SELECT pg_advisory_unlock(1)")
    return TEMPLATE


@pytest.fixture
def database_url(admin, engines, template):
    """A migrated database of the test's own."""
    with copied_database(admin, engines.database_url, template) as url:
        yield url


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
    """Start Celery workers on the test's database and Redis; none of them outlives the test.

    The defaults run `worker_tasks` with a short lease. Keywords are added to the environment.
    """
    workers = []

    def start(*arguments, app="worker_tasks", pool="prefork", concurrency=2, **variables):
        variables = environment | {"HOLDFAST_LEASE_SECONDS": "2"} | variables
        number = len(workers) + 1
        options = [f"--pool={pool}", f"--concurrency={concurrency}", f"--hostname=worker{number}@test"]
        log = tmp_path / f"worker-{number}.log"
        workers.append(worker := WorkerProcess(variables, log, app, *options, *arguments))
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


def stop_survivors(home):
    """Stop engines whose last user was killed: whoever joins the folder and leaves it is the last one."""
    if any(is_locked(lock) for lock in home.glob("*.lock")):
        with EmbeddedEngines(home):
            pass
