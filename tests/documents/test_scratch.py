"""The files of an ingestion are gone when it ends, and soon after it was killed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from holdfast.documents.scratch import YOUNG_SECONDS, remove_abandoned, scratch_folder

PROGRAM = """
import time
from holdfast.documents.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "upload").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def ingestion(tmp_path):
    """A process in the middle of an ingestion, and its folder, which is no longer young."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment
    )
    folder = Path(process.stdout.readline().strip())
    grow_old(folder)
    yield process, folder
    process.kill()
    process.wait()
    process.stdout.close()


def grow_old(folder):
    moment = time.time() - YOUNG_SECONDS - 1
    os.utime(folder, (moment, moment))


def test_folder_is_removed_at_its_end_whatever_happens():
    def fail():
        with scratch_folder() as folder:
            folders.append(folder)
            (folder / "upload").write_text("text")
            raise ValueError("as asked")

    folders = []
    with pytest.raises(ValueError, match="as asked"):
        fail()
    assert not folders[0].exists()


def test_folder_of_a_killed_process_is_removed_by_the_next(ingestion):
    process, folder = ingestion
    process.send_signal(signal.SIGKILL)
    process.wait()

    with scratch_folder() as own:
        assert own.exists()
        assert not folder.exists()


def test_folder_that_is_in_use_stays(ingestion):
    _, folder = ingestion

    assert remove_abandoned() == 0
    assert (folder / "upload").exists()


def test_folder_that_is_not_locked_yet_stays(tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="holdfast-ingest-"))
    assert remove_abandoned() == 0

    grow_old(folder)
    assert remove_abandoned() == 1
    assert not folder.exists()
