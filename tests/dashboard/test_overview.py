"""The overview, and that it costs the same however many look at it."""

from datetime import timedelta

import pytest
from sqlalchemy import event

from dashboard_visits import browser_of
from factories import make_job, queue_job
from holdfast import server
from holdfast.jobs import counting, workers
from holdfast.jobs.workers import WorkerFacts
from holdfast.states import JobStatus
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio


async def test_the_overview_tells_what_waits_who_works_and_what_ended(
    admin_browser, holdfast, session, monkeypatch
):
    monkeypatch.setattr(counting, "SETTLING", timedelta())
    counter = counting.Counting(holdfast.database)
    counter.round()
    make_job(session, JobStatus.COMPLETED)
    make_job(session, JobStatus.FAILED)
    queue_job(session)
    workers.say_alive(session, "w1", WorkerFacts("host", 7, "prefork", 2, ["default"], 1, True))
    session.commit()
    counter.round()
    for span, stretches in (("1h", 60), ("24h", 96), ("30d", 120)):
        shown = (await admin_browser.get("/dashboard/api/overview", params={"span": span})).json()
        assert len(shown["stretches"]) == stretches
        assert sum(each["completed"] for each in shown["stretches"]) == 1
        assert shown["tasks"] == [{"task": "work", "completed": 1, "failed": 1, "cancelled": 0}]
        assert [(queue["name"], queue["queued"]) for queue in shown["queues"]] == [("default", 1)]
        assert [worker["is_consuming"] for worker in shown["workers"]] == [True]


async def test_many_who_look_are_shown_the_same(admin_browser, holdfast):
    asked = []

    def remember(connection, cursor, statement, *_):
        asked.append("job_durations" in statement)

    event.listen(holdfast.database.async_engine.sync_engine, "before_cursor_execute", remember)
    for _ in range(5):
        await admin_browser.get("/dashboard/api/overview")
    assert sum(asked) == 1


async def test_another_span_is_refused(admin_browser):
    response = await admin_browser.get("/dashboard/api/overview", params={"span": "1y"})
    assert_problem(response, 422, "invalid_request")


async def test_the_server_has_the_dashboard():
    async with browser_of(server.create()) as browser:
        assert "<title>Holdfast</title>" in (await browser.get("/dashboard")).text
