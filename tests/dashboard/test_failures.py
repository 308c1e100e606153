"""Failed jobs by what was wrong, and retrying all that failed alike."""

import pytest
from sqlalchemy import func, select

from factories import make_job, start_job
from holdfast.dashboard import failures as routes
from holdfast.jobs import failures, store
from holdfast.jobs.models import Job
from holdfast.states import JobStatus

pytestmark = pytest.mark.anyio


@pytest.fixture
def fail(session):
    """Fails a job with this message; returns its id."""

    def make(message, code="task_error", **changes):
        claim = start_job(session, **changes)
        store.fail(session, claim, {"code": code, "message": message, "stage": None, "attempt": 1}, None)
        session.commit()
        return claim.id

    return make


async def groups(browser):
    response = await browser.get("/dashboard/api/failures")
    assert response.status_code == 200, response.text
    return response.json()["data"]


async def retry(browser, group, before=None):
    named = {name: group[name] for name in ("task", "code", "likeness")}
    response = await browser.post("/dashboard/api/failures/retry", json={**named, "before": before})
    assert response.status_code == 202, response.text
    return response.json()


async def test_errors_that_differ_in_ids_and_numbers_are_one_group(admin_browser, fail):
    fail("KeyError: 'kelp' after 3 tries of 01890a5d-ac96-774b-bcce-b302099a8057")
    newest = fail("KeyError: 'wrack' after 12 tries of 01890a5d-ac96-774b-bcce-b302099a8058")
    fail("KeyError: 'wrack' after 12 tries of 01890a5d-ac96-774b-bcce-b302099a8058", code="other")
    fail("KeyError: 'wrack' after 12 tries of 01890a5d-ac96-774b-bcce-b302099a8058", task="another")
    fail("ValueError: no")
    found = await groups(admin_browser)
    assert [group["jobs"] for group in found] == [1, 1, 1, 2]
    assert found[3]["likeness"] == "KeyError: … after … tries of …"
    assert found[3]["last_id"] == str(newest)
    assert found[3]["message"].startswith("KeyError: 'wrack' after 12")


async def test_an_error_without_a_message_is_a_group(admin_browser, session, fail):
    fail(None, code=None)
    assert [(group["code"], group["likeness"]) for group in await groups(admin_browser)] == [("", "")]


async def test_a_group_is_retried_piece_by_piece(admin_browser, holdfast, session, fail, monkeypatch):
    monkeypatch.setattr(routes, "_TOGETHER", 2)
    holdfast.task(name="work")(lambda job: None)
    for number in range(5):
        fail(f"no {number}")
    other = fail("something else")
    group = (await groups(admin_browser))[1]
    pieces, before = [], None
    while not pieces or before is not None:
        pieces.append(await retry(admin_browser, group, before))
        before = pieces[-1]["last_id"]
    assert [piece["retried"] for piece in pieces] == [2, 2, 1]
    retried = session.scalars(select(Job.retry_of).where(Job.retry_of.is_not(None))).all()
    assert len(set(retried)) == 5
    assert other not in retried


async def test_what_was_retried_is_not_retried_again(admin_browser, holdfast, session, fail):
    holdfast.task(name="work")(lambda job: None)
    fail("no")
    group = (await groups(admin_browser))[0]
    assert [(await retry(admin_browser, group))["retried"] for _ in range(2)] == [1, 0]
    assert (await groups(admin_browser))[0]["waiting"] == 0
    assert session.scalar(select(func.count()).select_from(Job)) == 2


async def test_what_cannot_be_retried_is_told(admin_browser, session):
    make_job(session, JobStatus.FAILED, task="forgotten")
    group = (await groups(admin_browser))[0]
    told = await retry(admin_browser, group)
    assert (told["retried"], told["refused"]) == (0, 1)
    assert "forgotten" in told["reasons"][0]


async def test_the_newest_failures_are_looked_at(admin_browser, fail, monkeypatch):
    for _ in range(3):
        fail("no")
    monkeypatch.setattr(failures, "LOOKED_AT", 2)
    assert (await groups(admin_browser))[0]["jobs"] == 2
