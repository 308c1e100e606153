"""Fixtures for pytest: `pytest_plugins = ["holdfast.testing.fixtures"]` in the `conftest.py` at the top.

The engines are the embedded ones, started once for a test run and shared by the processes of pytest-xdist.
Each test that asks for it gets a database of its own, copied from a migrated template in some 25 ms.

    @pytest.fixture
    def holdfast(holdfast_settings):
        with pointed_at(myapp.holdfast, holdfast_settings) as holdfast:
            yield holdfast

    def test_summary_is_written(holdfast):
        with holdfast.database.transaction() as session:
            job_id = summarize.enqueue(session, document_id=1).job_id
        assert run_job(holdfast, job_id).status == "completed"
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from holdfast import Settings
from holdfast.engines import EmbeddedEngines, EngineUrls
from holdfast.engines.locks import is_locked
from holdfast.jobs.database import Database
from holdfast.testing import databases
from holdfast.testing.clock import Clock
from holdfast.testing.worker import WorkerProcess

# Inherited by the processes of pytest-xdist, which thereby share one PostgreSQL and one Valkey.
HOME_VARIABLE = "HOLDFAST_TEST_HOME"


class StartWorker(Protocol):
    """What the fixture `holdfast_worker` gives."""

    def __call__(
        self, app: str, *arguments: str, pool: str = "prefork", concurrency: int = 2, **variables: str
    ) -> WorkerProcess:
        """Start `holdfast worker --app APP` and return it when it takes jobs.

        Args:
            app: the Holdfast to run, as module:attribute; the working folder is on its path.
            *arguments: for `celery worker`.
            pool: asyncio, prefork, threads or solo.
            concurrency: jobs in flight.
            **variables: added to its environment.
        """
        ...


def pytest_configure(config: pytest.Config) -> None:
    """Choose the folder of the engines, in the process that started the run."""
    if not hasattr(config, "workerinput"):
        os.environ[HOME_VARIABLE] = tempfile.mkdtemp(prefix="holdfast-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no engine and no file behind, also when a process of the run was killed."""
    if not hasattr(config, "workerinput"):
        home = Path(os.environ.pop(HOME_VARIABLE))
        _stop_survivors(home / "engines")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def holdfast_engines() -> Iterator[EngineUrls]:
    """The URLs of a PostgreSQL and a Valkey that live as long as any process of this test run."""
    with EmbeddedEngines(Path(os.environ[HOME_VARIABLE]) / "engines") as urls:
        yield urls


@pytest.fixture(scope="session")
def holdfast_admin(holdfast_engines: EngineUrls) -> Iterator[databases.Admin]:
    """A connection that makes and drops databases."""
    with databases.connect(str(holdfast_engines.database_url)) as connection:
        yield connection


@pytest.fixture(scope="session")
def holdfast_template(holdfast_admin: databases.Admin, holdfast_engines: EngineUrls) -> str:
    """The name of a migrated database that nobody connects to, so that it can be copied."""
    return databases.make_template(holdfast_admin, str(holdfast_engines.database_url))


@pytest.fixture(scope="session")
def holdfast_prefix() -> str:
    """The prefix of all keys that this process of the run writes to Valkey."""
    return f"test-{uuid4().hex[:12]}:"


@pytest.fixture
def holdfast_database_url(
    holdfast_admin: databases.Admin, holdfast_engines: EngineUrls, holdfast_template: str
) -> Iterator[str]:
    """A migrated database of the test's own."""
    url = str(holdfast_engines.database_url)
    with databases.copied_database(holdfast_admin, url, holdfast_template) as copied:
        yield copied


@pytest.fixture
def holdfast_settings(
    holdfast_database_url: str, holdfast_engines: EngineUrls, holdfast_prefix: str, tmp_path: Path
) -> Settings:
    """Settings with the test's own database; nothing is read from the environment or from `.env`."""
    return Settings(
        _env_file=None,
        database_url=holdfast_database_url,
        redis_url=holdfast_engines.redis_url,
        key_prefix=holdfast_prefix,
        home=tmp_path / "home",
    )


@pytest.fixture
def holdfast_environment(holdfast_settings: Settings) -> dict[str, str]:
    """The environment that gives a subprocess the test's settings."""
    return os.environ | {
        "DATABASE_URL": str(holdfast_settings.database_url),
        "REDIS_URL": str(holdfast_settings.redis_url),
        "HOLDFAST_KEY_PREFIX": holdfast_settings.key_prefix,
        "HOLDFAST_HOME": str(holdfast_settings.home),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def holdfast_session(holdfast_settings: Settings) -> Iterator[Session]:
    """A session on the test's database."""
    database = Database(lambda: str(holdfast_settings.database_url), pool_size=1)
    with database.session() as session:
        yield session
    database.close()


@pytest.fixture
def holdfast_clock(holdfast_session: Session) -> Clock:
    """The clock of the test's database."""
    return Clock(holdfast_session)


@pytest.fixture
def holdfast_worker(holdfast_environment: dict[str, str], tmp_path: Path) -> Iterator[StartWorker]:
    """Start workers on the test's database; none of them outlives the test. See `StartWorker`."""
    workers: list[WorkerProcess] = []

    def start(
        app: str, *arguments: str, pool: str = "prefork", concurrency: int = 2, **variables: str
    ) -> WorkerProcess:
        command = [sys.executable, "-m", "holdfast", "worker", "--app", app, "--pool", pool]
        number = len(workers) + 1
        options = ["-c", str(concurrency), "--hostname", f"worker{number}@test", *arguments]
        log = tmp_path / f"worker-{number}.log"
        worker = WorkerProcess(holdfast_environment | variables, log, [*command, *options])
        workers.append(worker)
        return worker.await_ready()

    yield start
    for worker in workers:
        worker.kill()


def _stop_survivors(home: Path) -> None:
    """Stop engines whose last user was killed: whoever joins the folder and leaves it is the last one."""
    if any(is_locked(lock) for lock in home.glob("*.lock")):
        with EmbeddedEngines(home):
            pass
