"""The engines all tests share, and what a test gets of its own: a database, a key prefix, a `Holdfast`."""

import os
import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import create_engine, make_url

from holdfast import Holdfast, Settings
from holdfast.engines import EmbeddedEngines
from holdfast.engines.locks import is_locked
from holdfast.migrations import upgrade

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
def make_database(admin, engines):
    """Make databases, copies of one that is named or empty ones; they are dropped after the test."""
    made = []

    def make(copy_of="template1"):
        # PostgreSQL's default strategy, WAL_LOG, takes 25 ms for the migrated schema, FILE_COPY 60.
        made.append(name := f"test_{uuid4().hex}")
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(copy_of))
        )
        return named(engines.database_url, name)

    yield make
    for name in made:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(make_database, template):
    """A migrated database of the test's own."""
    return make_database(copy_of=template)


@pytest.fixture
def empty_database_url(make_database):
    """A database of the test's own with nothing in it."""
    return make_database()


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


def migrate(url):
    engine = create_engine(url)
    try:
        upgrade(engine)
    finally:
        engine.dispose()


def named(url, database):
    """The URL of another database on the same server."""
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def conninfo(url):
    """The URL as libpq reads it."""
    return url.replace("postgresql+psycopg://", "postgresql://")


def delete_keys(client, prefix):
    keys = list(client.scan_iter(f"{prefix}*", count=1000))
    if keys:
        client.delete(*keys)
