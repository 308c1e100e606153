"""Commands that need no running server."""

import pytest

from holdfast.settings import Settings

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _on_the_tests_engines(environment, settings):
    environment["DATABASE_URL"] = settings.database_url
    environment["REDIS_URL"] = settings.redis_url
    environment["HOLDFAST_KEY_PREFIX"] = settings.key_prefix


def test_a_key_is_made_listed_and_revoked(run):
    token = run("keys", "create", "alice").stdout.strip()
    prefix = token[: len("hf_12345678")]
    assert prefix in run("keys", "list").stdout
    assert run("keys", "revoke", prefix).returncode == 0
    again = run("keys", "revoke", prefix)
    assert again.returncode == 1
    assert f"There is no valid key {prefix}" in again.stderr


def test_migrating_twice_is_harmless(run):
    assert run("migrate").returncode == 0
    assert run("migrate").returncode == 0


@pytest.mark.parametrize("command", ["migrate", "keys list", "keys create alice", "keys revoke hf_0", "up"])
def test_a_database_that_is_away_is_one_line(run, environment, port, command):
    environment["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"
    done = run(*command.split(), *(["--port", str(port)] if command == "up" else []))
    assert done.returncode == 1
    assert "database_unavailable" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_without_tables_says_how_to_make_them(run, environment, empty_database_url):
    environment["DATABASE_URL"] = empty_database_url
    created = run("keys", "create", "alice")
    assert created.returncode == 1
    assert "holdfast migrate" in created.stderr
    assert "Traceback" not in created.stderr


def test_a_name_is_listed_as_it_was_given(run):
    run("keys", "create", "[/alice]")
    assert "[/alice]" in run("keys", "list").stdout


def test_without_a_server_the_error_says_how_to_start_one(run, environment, port):
    environment["HOLDFAST_URL"] = f"http://127.0.0.1:{port}"
    environment["HOLDFAST_API_KEY"] = "hf_00000000_x"
    found = run("search", "anything")
    assert found.returncode == 1
    assert "holdfast up" in found.stderr


def test_without_a_key_the_error_says_how_to_get_one(run):
    found = run("search", "anything")
    assert found.returncode == 1
    assert "HOLDFAST_API_KEY" in found.stderr


def test_an_app_that_is_not_there_is_told(run):
    migrated = run("migrate", "--app", "nowhere:holdfast")
    assert migrated.returncode == 1
    assert "'nowhere:holdfast' cannot be loaded" in migrated.stderr


def test_a_path_that_is_not_there_is_told(run):
    ingested = run("ingest", "missing.pdf")
    assert ingested.returncode == 1
    assert "missing.pdf is neither a file nor a folder" in ingested.stderr


def test_a_setting_that_cannot_be_read_is_told_without_its_value(run, environment):
    environment["HOLDFAST_MAX_UPLOAD_MB"] = "plenty"
    environment["HOLDFAST_LOG_LEVEL"] = "loud"
    listed = run("keys", "list")
    assert listed.returncode == 1
    assert "HOLDFAST_MAX_UPLOAD_MB: Input should be a valid number" in listed.stderr
    assert "HOLDFAST_LOG_LEVEL: Input should be 'DEBUG'" in listed.stderr
    assert "plenty" not in listed.stderr
    assert "Traceback" not in listed.stderr


def test_a_log_level_may_be_written_in_small_letters(monkeypatch):
    monkeypatch.setenv("HOLDFAST_LOG_LEVEL", "debug")
    assert Settings(_env_file=None).log_level == "DEBUG"


@pytest.mark.parametrize("command", ["show", "watch"])
def test_an_id_that_is_none_is_told(run, environment, command):
    environment["HOLDFAST_API_KEY"] = "hf_00000000_x"
    shown = run("jobs", command, "../documents")
    assert shown.returncode == 2
    assert "valid UUID" in shown.stderr
