"""The demo, as a newcomer runs it."""

import re

import pytest

from commands import processes_of

pytestmark = pytest.mark.timeout(300)


def test_the_demo_ingests_and_searches_real_documents_and_leaves_nothing_running(run, folder):
    shown = run("demo", seconds=240)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    ingested = re.search(r"(\d+) of (\d+) documents ingested", shown.stdout)
    assert ingested is not None
    assert ingested[1] == ingested[2]
    assert int(ingested[1]) >= 20
    assert "Connection Pools" in shown.stdout
    assert not processes_of(folder)


def test_a_demo_that_fails_says_so_by_its_exit_code(run, environment):
    environment["HOLDFAST_MAX_UPLOAD_MB"] = "0.00001"
    shown = run("demo", seconds=240)
    assert "upload_too_large" in shown.stdout
    assert shown.returncode == 1
