"""The README's example of steps, effects and children is the file it names, and does what it says."""

import importlib.util
from pathlib import Path

import pytest
from sqlalchemy import select, text

from factories import attempt_outcomes
from holdfast.jobs.models import Job
from holdfast.testing import pointed_at, run_job

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "reports.py"


@pytest.fixture
def example(settings):
    spec = importlib.util.spec_from_file_location("reports", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pointed_at(module.holdfast, settings):
        yield module


def test_readme_shows_the_example_as_it_is():
    assert f"```python\n{EXAMPLE.read_text().strip()}\n```" in (ROOT / "README.md").read_text()


def test_report_is_written_and_billed_once(example, session):
    session.execute(text("CREATE TABLE public.bills (customer int, notes int)"))
    job_id = example.report.enqueue(session, customer=7, chapters=["a\nb", "c"]).job_id
    session.commit()

    assert run_job(example.holdfast, job_id).status == "queued"
    for child in session.scalars(select(Job.id).where(Job.parent_id == job_id)).all():
        assert run_job(example.holdfast, child).progress["current"] > 0
    job = run_job(example.holdfast, job_id)
    assert (job.status, job.result) == ("completed", "A\nB\nC")
    assert attempt_outcomes(session, job_id) == ["suspended", "completed"]
    assert session.execute(text("SELECT customer, notes FROM public.bills")).all() == [(7, 3)]
