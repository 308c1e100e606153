"""`holdfast schedules` lists what is run by the clock."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

MODULE = """
from holdfast import Holdfast, JobContext

holdfast = Holdfast()

@holdfast.task(cron="30 2 * * *", timezone="Europe/Paris")
def report(job: JobContext) -> None: ...
"""


@pytest.fixture(autouse=True)
def _on_the_tests_engines(environment, settings):
    environment["DATABASE_URL"] = settings.database_url
    environment["REDIS_URL"] = settings.redis_url


def test_schedules_are_listed_with_their_zone_and_next_tick(run, folder):
    Path(folder / "mine.py").write_text(MODULE)
    done = run("schedules", "--app", "mine:holdfast")

    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("report"))
    assert row.split()[:7] == ["report", "30", "2", "*", "*", "*", "Europe/Paris"]
    assert row.endswith(("02:30", "03:00"))  # the night of the change


def test_application_without_schedules_says_so(run, folder, environment):
    environment["HOLDFAST_RETENTION_DAYS"] = "0"
    Path(folder / "mine.py").write_text("from holdfast import Holdfast\nholdfast = Holdfast()\n")

    assert run("schedules", "--app", "mine:holdfast").stdout == "No task has a cron.\n"


def test_cron_that_cannot_be_read_is_one_line(run, folder):
    Path(folder / "mine.py").write_text(MODULE.replace("30 2", "61 2"))
    done = run("schedules", "--app", "mine:holdfast")

    assert done.returncode == 1
    assert "Bad minute" in done.stderr
    assert "Traceback" not in done.stderr
