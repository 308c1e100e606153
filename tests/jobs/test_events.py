"""What an attempt says of itself, as far as the engine sees it."""

import json

import pytest

from factories import LEASE
from holdfast import JobContext
from holdfast.jobs import events
from holdfast.jobs.events import Unwatched
from holdfast.jobs.outcome import Complete
from holdfast.jobs.runner import Runner, Worker

WORKER = Worker("worker-1", LEASE)


class Heard(Unwatched):
    """A sink that keeps what it is told."""

    def __init__(self):
        self.all = []

    def tell(self, claim, name):
        self.all.append((name, claim.attempt))

    def emit(self, event):
        self.all.append((event.name, json.loads(event.encoded)))

    def flush(self):
        self.all.append("flush")


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def run(holdfast, session, heard):
    """Register a function, queue a job of it and run an attempt; returns the decision."""
    runner = Runner(holdfast.database, lambda news: None, sink=heard)

    def run(function, **options):
        task = holdfast.task(**options)(function)
        job_id = task.enqueue(session).job_id
        session.commit()
        return runner.run(task, job_id, WORKER)

    return run


def test_all_an_attempt_emits_is_told_before_its_end(run, heard):
    async def stream(job: JobContext) -> None:
        await job.emit("output.delta", {"text": "Kelp"})
        job.emit_sync("my.own", {"n": [1, None]})

    assert isinstance(run(stream), Complete)
    assert heard.all == [
        ("job.started", 1),
        ("output.delta", {"text": "Kelp"}),
        ("my.own", {"n": [1, None]}),
        "flush",
        ("job.completed", 1),
    ]


def test_a_job_that_emits_nothing_waits_for_nothing(run, heard):
    def quiet(job: JobContext) -> None:
        pass

    run(quiet)
    assert heard.all == [("job.started", 1), ("job.completed", 1)]


def test_failures_and_retries_are_told(run, heard):
    def fail(job: JobContext) -> None:
        raise ValueError

    run(fail, name="once", retries=0)
    run(fail, name="again", retries=1)
    assert [name for name, _ in heard.all] == ["job.started", "job.failed", "job.started", "job.retrying"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("", {}),
        ("Two words", {}),
        ("a\nb", {}),
        ("job.completed", {}),
        ("snapshot", {}),
        ("x" * 65, {}),
        ("usage", {"n": float("nan")}),
        ("usage", {"n": object()}),
        ("usage", {"text": "\ud800"}),
        ("usage", [1]),
        ("usage", {"text": "x" * events.MAX_DATA_BYTES}),
    ],
)
def test_what_cannot_be_an_event_is_refused(name, data):
    with pytest.raises(ValueError, match=r"event|Event"):
        events.encode(name, data)


def test_ids_order_all_that_can_become_of_a_job():
    first, second = 1, 2
    ids = [
        events.QUEUED_ID,
        events.started_id(first),
        events.started_id(first) + 1,
        events.ended_id(first),
        events.started_id(second),
        events.ended_id(second),
    ]
    assert ids == sorted(set(ids))
    assert events.ended_id(100_000) < 2**53
