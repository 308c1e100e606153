"""One delivery, start to end, in this process and without Celery."""

import asyncio
import os
import signal
import sys
import threading
from datetime import timedelta

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from factories import LEASE, PROCESS, RAN_OUT, attempt_outcomes, claim_job, job_row, start_job
from holdfast import JobContext, PermanentError, ProviderError, Retry
from holdfast.jobs import leases, store
from holdfast.jobs.outcome import Abandon, Complete, Fail, RetryLater, Stop
from holdfast.jobs.queries import list_attempts
from holdfast.jobs.runner import Runner, Worker
from waiting import wait_for

WORKER = Worker("worker-1", LEASE)


class Summary(BaseModel):
    words: int


@pytest.fixture
def seen():
    """What watchers were told, newest last."""
    return []


@pytest.fixture
def runner(holdfast, seen):
    return Runner(holdfast.database, lambda news: seen.extend(news.values()))


@pytest.fixture
def queue(holdfast, session):
    """Register a function and queue a job of it."""

    def register(function, *, options=None, **arguments):
        task = holdfast.task(**options or {})(function)
        job_id = task.enqueue(session, **arguments).job_id
        session.commit()
        return task, job_id

    return register


@pytest.fixture
def run(runner, queue):
    """Register a function, queue a job and run it; returns the decision and the job's id."""

    def run(function, **arguments):
        task, job_id = queue(function, **arguments)
        return runner.run(task, job_id, WORKER), job_id

    return run


@pytest.fixture
def start(runner):
    """Run a job in a thread, as a worker would; returns a future-like list that gets the decision."""
    threads = []

    def start(task, job_id):
        decisions = []
        thread = threading.Thread(target=lambda: decisions.append(runner.run(task, job_id, WORKER)))
        threads.append(thread)
        thread.start()
        return decisions

    yield start
    for thread in threads:
        thread.join(30)


def count(job: JobContext, words: str) -> Summary:
    return Summary(words=len(words.split()))


async def count_async(job: JobContext, words: str) -> Summary:
    await asyncio.sleep(0)
    return Summary(words=len(words.split()))


@pytest.mark.parametrize("function", [count, count_async])
def test_job_runs_and_its_result_is_kept(run, session, function):
    decision, job_id = run(function, words="one two three")

    assert decision == Complete({"words": 3})
    row = job_row(session, job_id)
    assert (row["status"], row["result"], row["attempt"]) == ("completed", {"words": 3}, 1)
    assert row["created_at"] <= row["started_at"] <= row["completed_at"]
    assert attempt_outcomes(session, job_id) == ["completed"]


def test_delivery_of_a_finished_job_runs_nothing(runner, queue, session):
    runs = []

    def once(job: JobContext) -> None:
        runs.append(job.attempt)

    task, job_id = queue(once)
    assert isinstance(runner.run(task, job_id, WORKER), Complete)
    assert runner.run(task, job_id, WORKER) is None
    assert runs == [1]


def test_context_tells_the_job(run):
    told = {}

    def tell(job: JobContext) -> None:
        told.update(id=job.id, attempt=job.attempt, task=job.task, cancelled=job.cancelled)

    _, job_id = run(tell)
    assert told == {"id": job_id, "attempt": 1, "task": "tell", "cancelled": False}


def wrong_type(job: JobContext) -> int:
    return "many"


def nul(job: JobContext) -> str:
    return "a\x00b"


def surrogate(job: JobContext) -> str:
    return "\ud800"


def not_a_number(job: JobContext) -> list[float]:
    return [float("nan")]


def unserializable(job: JobContext):
    return object()


@pytest.mark.parametrize("function", [wrong_type, nul, surrogate, not_a_number, unserializable])
def test_result_that_cannot_be_kept_fails_the_job_at_once(run, session, function):
    decision, job_id = run(function)

    assert isinstance(decision, Fail)
    row = job_row(session, job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "invalid_result")


@pytest.mark.parametrize("state", ["54000", "22003"])
def test_result_that_the_database_refuses_fails_the_job_at_once(run, session, state):
    # As PostgreSQL does with what is beyond a limit of jsonb, such as a string of 256 MB.
    session.execute(
        text(f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'too large for jsonb' USING ERRCODE = '{state}'; END $$;
            CREATE TRIGGER refuse BEFORE UPDATE ON holdfast.jobs
            FOR EACH ROW WHEN (NEW.result IS NOT NULL) EXECUTE FUNCTION refuse();
        """)
    )
    session.commit()

    def large(job: JobContext) -> str:
        return "large"

    decision, job_id = run(large)
    assert isinstance(decision, Fail)
    job = job_row(session, job_id)
    assert (job["status"], job["attempt"], job["error"]["code"]) == ("failed", 1, "invalid_result")
    assert "too large for jsonb" in job["error"]["message"]


@pytest.mark.parametrize("state", ["40001", "40P01", "25006", "57P01"])
def test_result_is_recorded_when_the_database_refuses_only_once(run, session, state):
    # Nothing of a sequence is rolled back.
    session.execute(
        text(f"""
            CREATE SEQUENCE refusals;
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN
                IF nextval('refusals') = 1 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '{state}'; END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER refuse BEFORE UPDATE ON holdfast.jobs
            FOR EACH ROW WHEN (NEW.result IS NOT NULL) EXECUTE FUNCTION refuse();
        """)
    )
    session.commit()

    def work(job: JobContext) -> str:
        return "done"

    decision, job_id = run(work)
    assert decision == Complete("done")
    assert job_row(session, job_id)["status"] == "completed"


def test_arguments_that_no_longer_fit_fail_the_job_at_once(runner, queue, holdfast, session):
    _, job_id = queue(count, words="one")

    def changed(job: JobContext, pages: int) -> None: ...

    assert isinstance(runner.run(holdfast.task(changed), job_id, WORKER), Fail)
    assert job_row(session, job_id)["error"]["code"] == "invalid_arguments"


def permanent(job: JobContext) -> None:
    raise PermanentError("no such model", code="model_gone", stage="embed")


def refused(job: JobContext) -> None:
    raise ProviderError("401", retryable=False)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (permanent, {"code": "model_gone", "message": "no such model", "stage": "embed", "attempt": 1}),
        (refused, {"code": "provider_error", "message": "401", "stage": None, "attempt": 1}),
    ],
)
def test_permanent_failure_is_not_tried_again(run, session, function, error):
    _, job_id = run(function)
    row = job_row(session, job_id)
    assert (row["status"], row["error"], row["failures"]) == ("failed", error, 1)


def fails(job: JobContext) -> None:
    raise ValueError("bad")


def leaves(job: JobContext) -> None:
    sys.exit(3)


async def fails_async(job: JobContext) -> None:
    raise ValueError("bad")


async def leaves_async(job: JobContext) -> None:
    sys.exit(3)


def asks(job: JobContext) -> None:
    raise Retry("busy", after=60)


def limited(job: JobContext) -> None:
    raise ProviderError("429", retryable=True, retry_after=timedelta(seconds=60))


@pytest.mark.parametrize("function", [fails, leaves, fails_async, leaves_async, asks, limited])
def test_failure_waits_in_the_database_for_its_retry(run, runner, holdfast, session, function):
    decision, job_id = run(function)

    assert isinstance(decision, RetryLater)
    row = job_row(session, job_id)
    assert (row["status"], row["failures"], row["sent_at"]) == ("queued", 1, None)
    assert timedelta(seconds=50) < row["run_at"] - row["started_at"] < timedelta(seconds=70)
    assert runner.run(holdfast.tasks[function.__name__], job_id, WORKER) is None
    assert attempt_outcomes(session, job_id) == ["retried"]


@pytest.mark.parametrize("function", [fails, leaves, fails_async, leaves_async])
def test_process_goes_on_after_a_failed_task(run, function):
    run(function)
    decision, _ = run(count_async, words="one")
    assert isinstance(decision, Complete)


def test_last_attempt_fails_the_job_and_the_history_keeps_every_error(runner, queue, session):
    task, job_id = queue(fails, options={"retries": 2, "retry_delay": 0})

    decisions = [type(runner.run(task, job_id, WORKER)) for _ in range(3)]

    assert decisions == [RetryLater, RetryLater, Fail]
    assert attempt_outcomes(session, job_id) == ["retried", "retried", "failed"]
    for attempt in list_attempts(session, job_id):
        assert attempt.error["message"] == "ValueError: bad"
        assert 'raise ValueError("bad")' in attempt.error["traceback"]
    assert "traceback" not in job_row(session, job_id)["error"]


def test_progress_is_shown_and_saved_while_the_job_runs(start, queue, session, seen):
    go_on = threading.Event()

    def work(job: JobContext) -> None:
        job.progress(3, 10, "reading\x00")
        go_on.wait(30)

    task, job_id = queue(work)
    start(task, job_id)
    expected = {"current": 3, "total": 10, "message": "reading\N{REPLACEMENT CHARACTER}"}
    try:
        wait_for(lambda: job_row(session, job_id)["progress"] == expected, "saved progress")
        assert seen == [expected]
    finally:
        go_on.set()


def test_last_progress_is_saved_with_the_end(run, session):
    def work(job: JobContext) -> None:
        for number in range(1001):
            job.progress(number, 1000)

    _, job_id = run(work)
    assert job_row(session, job_id)["progress"] == {"current": 1000, "total": 1000, "message": None}


@pytest.mark.parametrize("current", [0.5, "3", None])
def test_progress_is_counted_in_whole_numbers(run, current):
    def work(job: JobContext) -> None:
        with pytest.raises(TypeError):
            job.progress(current)

    assert isinstance(run(work)[0], Complete)


def test_async_task_that_is_cancelled_can_clean_up(start, queue, session):
    started, cleaned = threading.Event(), threading.Event()

    async def wait_long(job: JobContext) -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.set()

    task, job_id = queue(wait_long)
    decisions = start(task, job_id)
    assert started.wait(30)
    store.cancel(session, job_id)
    session.commit()

    wait_for(lambda: decisions, "the end of the cancelled job", seconds=5)
    assert decisions == [Stop()]
    assert cleaned.is_set()
    assert job_row(session, job_id)["status"] == "cancelled"
    assert attempt_outcomes(session, job_id) == ["cancelled"]


def test_async_task_that_is_cancelled_before_the_loop_gets_to_it_is_not_begun(start, queue, session, runner):
    go_on, begun = threading.Event(), threading.Event()

    async def block():
        go_on.wait(30)

    async def work(job: JobContext) -> None:
        begun.set()
        await asyncio.sleep(30)

    blocked = runner._loop.submit(block())
    task, job_id = queue(work)
    decisions = start(task, job_id)
    reported = runner.reporter.get()._open
    attempt = wait_for(lambda: next(iter(list(reported)), None), "the attempt")
    store.cancel(session, job_id)
    session.commit()
    wait_for(lambda: attempt.stop_requested, "the stop sign")
    go_on.set()
    blocked.result(30)

    wait_for(lambda: decisions, "the end of the cancelled job", seconds=5)
    assert decisions == [Stop()]
    assert not begun.is_set()


@pytest.fixture
def time_limit():
    """A signal that raises in the main thread, as Celery's soft time limit does."""

    def exceed(*_):
        raise TimeoutError("soft time limit")

    before = signal.signal(signal.SIGUSR1, exceed)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def test_async_task_does_not_outlive_its_time_limit(run, time_limit):
    stopped = threading.Event()

    async def work(job: JobContext) -> None:
        os.kill(os.getpid(), time_limit)
        try:
            await asyncio.sleep(30)
        finally:
            stopped.set()

    decision, _ = run(work)
    assert isinstance(decision, RetryLater)
    assert stopped.wait(5)


def test_sync_task_that_is_cancelled_leaves_at_its_next_progress(start, queue, session):
    cleaned = threading.Event()
    started = threading.Event()

    def work(job: JobContext) -> None:
        started.set()
        try:
            wait_for(lambda: job.progress(1), "never", seconds=30)
        finally:
            cleaned.set()

    task, job_id = queue(work)
    decisions = start(task, job_id)
    assert started.wait(30)
    store.cancel(session, job_id)
    session.commit()

    wait_for(lambda: decisions, "the end of the cancelled job", seconds=5)
    assert decisions == [Stop()]
    assert cleaned.is_set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_stop_sign_reaches_a_job_after_a_watcher_has_failed(start, queue, session, runner):
    def fail(_news):
        raise RuntimeError("a bug")

    runner.reporter.get()._watcher = fail
    told = runner.reporter.get()._thread
    started = threading.Event()

    def tell(job: JobContext) -> None:
        job.progress(1)
        told.join(30)

    async def wait_long(job: JobContext) -> None:
        started.set()
        await asyncio.sleep(60)

    start(*queue(tell))
    wait_for(lambda: not told.is_alive(), "the end of the thread that told the watcher")
    task, job_id = queue(wait_long)
    decisions = start(task, job_id)
    assert started.wait(30)
    store.cancel(session, job_id)
    session.commit()

    wait_for(lambda: decisions, "the end of the job")
    assert decisions == [Stop()]


def test_task_that_does_not_heed_a_cancel_keeps_its_result(run, holdfast, session):
    def work(job: JobContext) -> str:
        with holdfast.database.transaction() as own:
            store.cancel(own, job.id)
        wait_for(lambda: job.cancelled, "the stop sign")
        return "done all the same"

    decision, job_id = run(work)
    assert decision == Complete("done all the same")
    assert job_row(session, job_id)["status"] == "completed"


def give_away(database, job_id):
    """Let the job move on to another worker."""
    with database.transaction() as session:
        leases.rescue_from_workers(session, [WORKER.name], limit=10)
        store.claim(session, job_id, worker="worker-2", process=PROCESS, lease=LEASE)


@pytest.mark.parametrize("end", ["return", "raise"])
def test_attempt_that_lost_its_job_records_nothing(run, holdfast, session, end):
    def work(job: JobContext) -> str:
        give_away(holdfast.database, job.id)
        if end == "raise":
            raise PermanentError("late")
        return "late"

    decision, job_id = run(work)

    assert decision == Abandon()
    row = job_row(session, job_id)
    assert (row["status"], row["attempt"], row["worker"]) == ("processing", 2, "worker-2")
    assert (row["result"], row["error"]) == (None, None)
    assert attempt_outcomes(session, job_id) == ["lost", None]


def test_attempt_that_lost_its_job_is_told_to_stop(run, holdfast, session):
    def work(job: JobContext) -> None:
        give_away(holdfast.database, job.id)
        wait_for(lambda: job.progress(1), "never", seconds=30)

    decision, job_id = run(work)
    assert decision == Abandon()
    assert job_row(session, job_id)["status"] == "processing"


def test_transaction_of_an_attempt_that_lost_its_job_writes_nothing(run, holdfast, session):
    session.execute(text("CREATE TABLE effects (attempt int)"))
    session.commit()

    def work(job: JobContext) -> None:
        with job.transaction() as own:
            own.execute(text("INSERT INTO effects VALUES (:attempt)"), {"attempt": job.attempt})
            give_away(holdfast.database, job.id)

    decision, job_id = run(work)
    assert decision == Abandon()
    assert session.execute(text("SELECT count(*) FROM effects")).scalar_one() == 0

    claim = store.Claim(job_id, 2, "work", {}, 0, 4, None)
    assert store.complete(session, claim, None, None)


def test_result_is_recorded_after_the_database_has_dropped_every_connection(run, admin, session):
    def work(job: JobContext) -> str:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [session.bind.url.database],
        )
        return "done"

    session.rollback()
    decision, job_id = run(work)

    assert decision == Complete("done")
    session.invalidate()
    assert job_row(session, job_id)["status"] == "completed"


def test_async_tasks_of_a_process_share_one_event_loop(runner, queue, session):
    async def loop(job: JobContext) -> int:
        return id(asyncio.get_running_loop())

    task, first = queue(loop)
    second = task.enqueue(session).job_id
    session.commit()

    assert runner.run(task, first, WORKER) == runner.run(task, second, WORKER)


def test_rescued_job_runs_again_as_its_next_attempt(runner, queue, session):
    def attempt(job: JobContext) -> int:
        return job.attempt

    task, job_id = queue(attempt)
    claim_job(session, job_id, lease=RAN_OUT)
    leases.rescue_expired(session, limit=10)
    session.commit()

    assert runner.run(task, job_id, WORKER) == Complete(2)
    assert attempt_outcomes(session, job_id) == ["lost", "completed"]


def test_job_that_is_held_is_given_back_unless_it_waits_to_be_begun(session, runner):
    waiting, forgotten = (start_job(session, worker=WORKER.name, process=os.getpid()) for _ in range(2))
    runner.claims[str(waiting.id)] = waiting
    reporter = runner.reporter.get()
    reporter.doubt(WORKER)
    wait_for(lambda: job_row(session, forgotten.id)["status"] == "queued", "the end of what nobody runs")

    reporter._save_and_look()
    assert job_row(session, waiting.id)["status"] == "processing"
    del runner.claims[str(waiting.id)]
    wait_for(lambda: job_row(session, waiting.id)["status"] == "queued", "the same of the other")
    reporter._in_doubt_until = 0.0
