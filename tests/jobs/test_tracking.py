"""`job.track`: progress that reports itself."""

import pytest

from holdfast import JobContext
from holdfast.jobs import store
from waiting import wait_for


async def slowly(items):
    for item in items:
        yield item


def by_for(job: JobContext) -> list[list[str | int]]:
    return [[number, item] for number, item in job.track("abc", message="reading")]


async def by_async_for(job: JobContext) -> list[list[str | int]]:
    return [[number, item] async for number, item in job.track("abc", message="reading")]


async def by_asynchronous_items(job: JobContext) -> list[list[str | int]]:
    tracked = job.track(slowly("abc"), total=3, message="reading")
    return [[number, item] async for number, item in tracked]


@pytest.mark.parametrize("task", [by_for, by_async_for, by_asynchronous_items])
def test_items_come_with_their_numbers_and_report_progress(submit, attempt, task):
    row = attempt(submit(task))
    assert row["result"] == [[0, "a"], [1, "b"], [2, "c"]]
    assert row["progress"] == {"current": 3, "total": 3, "message": "reading"}


def test_item_counts_when_the_next_is_asked_for(submit, attempt):
    def work(job: JobContext) -> None:
        for number, _ in job.track(iter("abc")):
            if number == 1:
                break

    assert attempt(submit(work))["progress"] == {"current": 1, "total": None, "message": None}


def test_asynchronous_items_need_async_for(submit, attempt):
    def work(job: JobContext) -> None:
        for _ in job.track(slowly("abc")):
            pass

    assert "async for" in attempt(submit(work, options={"retries": 0}))["error"]["message"]


def test_cancelled_job_leaves_at_the_next_item(submit, attempt, holdfast):
    seen = []

    def work(job: JobContext) -> None:
        for _, item in job.track("abc"):
            seen.append(item)
            with holdfast.database.transaction() as own:
                store.cancel(own, job.id)
            wait_for(lambda: job.cancelled, "the stop sign")

    assert attempt(submit(work))["status"] == "cancelled"
    assert seen == ["a"]
