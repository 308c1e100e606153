"""Who starts the engines, who finds them, and who stops them."""

import os
import shutil

from holdfast.engines import EmbeddedEngines, EngineUrls


def test_engines_answer_and_vector_is_available(home, valkey_client, connect):
    with EmbeddedEngines(home) as urls, connect(urls) as connection:
        connection.execute("CREATE EXTENSION vector")
        assert connection.execute("SELECT '[1,2]'::vector <-> '[1,4]'").fetchone() == (2.0,)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
        assert connection.execute("SELECT lower('ÄÖ'), current_database()").fetchone() == ("äö", "holdfast")
        assert valkey_client(urls).config_get("append*")["appendonly"] == "yes"


def test_starting_again_changes_nothing(home, running):
    engines = EmbeddedEngines(home)
    urls = engines.start()
    pids = running.pids()
    assert engines.start() == urls
    assert running.pids() == pids
    engines.stop()
    engines.stop()
    assert running.pids() == []


def test_only_the_wanted_engine_is_started(home, running, valkey_client):
    with EmbeddedEngines(home, postgres=False) as urls:
        assert urls.database_url is None
        assert valkey_client(urls).ping()
        assert len(running.pids()) == 1


def test_wanting_no_engine_leaves_the_disk_alone(home):
    with EmbeddedEngines(home, postgres=False, valkey=False) as urls:
        assert urls == EngineUrls(None, None)
    assert not home.exists()


def test_data_outlives_a_restart(home, valkey_client, connect):
    with EmbeddedEngines(home) as urls, connect(urls) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        valkey_client(urls).set("kept", "42")
    with EmbeddedEngines(home) as urls, connect(urls) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert valkey_client(urls).get("kept") == "42"


def test_last_leaver_stops_the_engines_and_no_other(home, running, spawn):
    first = spawn(home).await_start()
    pids = running.pids()
    second = spawn(home).await_start()
    assert running.pids() == pids
    assert len(pids) == 2
    everything = running.with_children()

    first.leave()
    assert running.pids() == pids
    second.leave()
    assert not any(process.is_running() and process.status() != "zombie" for process in everything)


def test_two_users_in_one_process_count_as_two(home, running):
    first, second = EmbeddedEngines(home), EmbeddedEngines(home, valkey=False)
    first.start()
    second.start()
    first.stop()
    assert len(running.pids()) == 2
    second.stop()
    assert running.pids() == []


def test_ctrl_c_stops_the_engines(home, running, spawn, wait_for_end_of):
    user = spawn(home).await_start()
    everything = running.with_children()
    user.press_ctrl_c()
    wait_for_end_of(everything)


def test_ctrl_c_leaves_engines_that_others_use(home, running, spawn, valkey_client):
    interrupted, other = spawn(home).await_start(), spawn(home).await_start()
    pids = running.pids()
    interrupted.press_ctrl_c()
    assert running.pids() == pids
    with EmbeddedEngines(home) as urls:
        assert valkey_client(urls).ping()
    other.leave()
    assert running.pids() == []


def test_end_of_a_forked_child_does_not_stop_the_engines(home, running, spawn):
    parent = spawn(home, "--fork").await_start()
    assert len(running.pids()) == 2
    parent.leave()
    assert running.pids() == []


def test_forked_child_that_starts_is_a_user_of_its_own(home, running):
    engines = EmbeddedEngines(home)
    engines.start()
    ready, done = os.pipe(), os.pipe()
    if not (child := os.fork()):
        engines.start()
        os.write(ready[1], b".")
        os.read(done[0], 1)
        engines.stop()
        os._exit(0)
    os.read(ready[0], 1)
    engines.stop()
    assert len(running.pids()) == 2
    os.write(done[1], b".")
    assert os.waitpid(child, 0)[1] == 0
    assert running.pids() == []


def test_ten_processes_at_once_share_one_pair_of_engines(home, running, spawn):
    users = [spawn(home) for _ in range(10)]
    for user in users:
        user.await_start()
    pids = running.pids()
    assert len(pids) == 2
    for user in users:
        user.popen.stdin.close()
    for user in users:
        assert user.popen.wait(30) == 0
    assert running.pids() == []


def test_engines_of_a_removed_folder_are_stopped(home, running, wait_for_end_of):
    engines = EmbeddedEngines(home)
    engines.start()
    everything = running.with_children()
    shutil.rmtree(home)
    engines.stop()
    wait_for_end_of(everything)
    assert not home.exists()
