"""Steps: saved once, given back to later attempts, and never a wrong value."""

import asyncio
import functools
import threading
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, Field
from sqlalchemy import event, text

from factories import LEASE, PROCESS, attempt_outcomes, job_row
from holdfast import JobContext, StepChanged
from holdfast.jobs import leases, store
from holdfast.testing import run_job
from waiting import wait_for


class Note(BaseModel):
    text: str = Field(alias="noteText")
    at: datetime | None = None
    ids: set[UUID] = set()


class Calls:
    """Functions for steps, which count how often they are called."""

    def __init__(self):
        self.names = []

    def double(self, number: int) -> int:
        self.names.append(f"double {number}")
        return number * 2

    async def double_async(self, number: int) -> int:
        self.names.append(f"double {number}")
        await asyncio.sleep(0)
        return number * 2


@pytest.fixture
def calls():
    return Calls()


def fail_at(job, *attempts):
    if job.attempt in attempts:
        raise ValueError("as asked")


def test_later_attempt_is_given_what_an_earlier_one_saved(submit, attempt, calls):
    def work(job: JobContext) -> list[int]:
        values = [job.step_sync("double", calls.double, number) for number in range(3)]
        fail_at(job, 1, 2)
        return values

    job_id = submit(work)
    assert [attempt(job_id)["status"] for _ in range(3)] == ["queued", "queued", "completed"]
    assert calls.names == ["double 0", "double 1", "double 2"]


@pytest.mark.parametrize("name", ["double", "double_async"])
def test_async_task_is_given_what_an_earlier_attempt_saved(submit, attempt, calls, name):
    async def work(job: JobContext) -> list[int]:
        values = [await job.step("double", getattr(calls, name), number) for number in range(3)]
        fail_at(job, 1)
        return values

    job_id = submit(work)
    attempt(job_id)
    assert attempt(job_id)["result"] == [0, 2, 4]
    assert calls.names == ["double 0", "double 1", "double 2"]


def test_plain_function_of_an_async_task_does_not_hold_up_the_loop(submit, attempt):
    passed = threading.Event()

    def wait() -> bool:
        return passed.wait(30)

    async def work(job: JobContext) -> bool:
        step = asyncio.ensure_future(job.step("wait", wait))
        await asyncio.sleep(0)
        passed.set()
        return await step

    assert attempt(submit(work))["result"] is True


def make_note(words: str) -> Note:
    return Note(noteText=words, at=datetime(2024, 2, 3, tzinfo=UTC), ids={UUID(int=1)})


def test_result_is_what_the_annotation_says_in_every_attempt(submit, attempt):
    seen = []

    def work(job: JobContext) -> None:
        seen.append(job.step_sync("note", make_note, "one"))
        fail_at(job, 1)

    job_id = submit(work)
    attempt(job_id)
    attempt(job_id)
    assert seen == [make_note("one"), make_note("one")]


def untyped(value):
    return value


def test_first_attempt_sees_the_result_as_it_was_stored(submit, attempt):
    seen = []

    def work(job: JobContext) -> None:
        value = {"ccc": 1e22, "bb": (1, 2), "a": -0.0, "é": Note(noteText="x"), "dd": 1.5e-7}
        seen.append(repr(job.step_sync("any", untyped, value)))
        fail_at(job, 1)

    job_id = submit(work)
    attempt(job_id)
    attempt(job_id)
    assert seen[0] == seen[1]
    assert seen[0].startswith("{'a': 0.0, 'bb': [1, 2], 'dd': 1.5e-07, 'é': {")


def test_step_that_failed_saves_nothing_and_is_tried_again(submit, attempt, saved):
    tries = []

    def flaky() -> str:
        tries.append(len(tries))
        if len(tries) < 3:
            raise ValueError("not yet")
        return "done"

    def work(job: JobContext) -> str:
        try:
            return job.step_sync("flaky", flaky)
        except ValueError:
            assert saved(job.id) == {}
        return job.step_sync("flaky", flaky)

    job_id = submit(work)
    assert attempt(job_id)["status"] == "queued"
    assert saved(job_id) == {}
    assert attempt(job_id)["result"] == "done"
    assert saved(job_id) == {("flaky", "#0"): "done"}, "a step that is tried again is the same step"


def nothing() -> None:
    return None


def test_result_of_none_is_saved_as_any_other(submit, attempt, saved):
    def work(job: JobContext) -> None:
        assert job.step_sync("nothing", nothing) is None
        fail_at(job, 1)

    job_id = submit(work)
    attempt(job_id)
    assert saved(job_id) == {("nothing", "#0"): None}
    assert attempt(job_id)["status"] == "completed"


def test_keys_tell_steps_of_one_name_apart(submit, attempt, calls, saved):
    key = uuid4()

    def work(job: JobContext) -> list[int]:
        order = [3, "a", key, "#0", "k" * 1_000, "nul\x00"]
        if job.attempt == 2:
            order.reverse()
        values = {given: job.step_sync("double", calls.double, len(str(given)), key=given) for given in order}
        fail_at(job, 1)
        return list(values.values())

    job_id = submit(work)
    attempt(job_id)
    assert attempt(job_id)["status"] == "completed"
    assert len(calls.names) == 6
    assert {("double", "3"), ("double", "a"), ("double", str(key)), ("double", "##0")} <= saved(job_id).keys()


def test_step_asked_for_twice_in_one_attempt_runs_once(submit, attempt, calls):
    def work(job: JobContext) -> list[int]:
        return [job.step_sync("double", calls.double, 4, key="four") for _ in range(3)]

    assert attempt(submit(work))["result"] == [8, 8, 8]
    assert calls.names == ["double 4"]


def read(value: int) -> int:
    return value


def read_otherwise(value: int) -> int:
    return -value


class Client:
    """What has no JSON."""


def with_client(client: Client, value: int) -> int:
    return value


def test_argument_that_is_not_json_counts_by_its_type(submit, attempt):
    def work(job: JobContext) -> int:
        value = job.step_sync("call", with_client, Client(), 3)
        fail_at(job, 1)
        return value

    job_id = submit(work)
    attempt(job_id)
    assert attempt(job_id)["result"] == 3


def test_iterator_that_is_an_argument_is_not_used_up(submit, attempt):
    def total(numbers) -> int:
        return sum(numbers)

    def work(job: JobContext) -> int:
        return job.step_sync("total", total, (number for number in range(4)))

    assert attempt(submit(work))["result"] == 6


@pytest.mark.parametrize(
    ("first", "second", "changed"),
    [
        ((read, 1), (read_otherwise, 1), ("function",)),
        ((read, 1), (read, 2), ("arguments",)),
        ((read, 1), (read_otherwise, 2), ("function", "arguments")),
        ((with_client, Client(), 1), (with_client, object(), 1), ("arguments",)),
        ((functools.partial(read, 1),), (functools.partial(read, 2),), ("arguments",)),
    ],
)
def test_changed_step_fails_the_job_and_says_what_differs(submit, attempt, first, second, changed):
    raised = []

    def work(job: JobContext) -> int:
        function, *arguments = first if job.attempt == 1 else second
        try:
            value = job.step_sync("read", function, *arguments)
        except StepChanged as error:
            raised.append(error)
            raise
        fail_at(job, 1)
        return value

    job_id = submit(work)
    attempt(job_id)
    row = attempt(job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "step_changed")
    assert (raised[0].name, raised[0].key, raised[0].changed) == ("read", "#0", changed)
    assert "'read'" in row["error"]["message"]


def test_saved_value_that_no_longer_fits_fails_the_job(submit, attempt):
    def made(annotation):
        def read(value):
            return value

        read.__annotations__["return"] = annotation
        return read

    def work(job: JobContext) -> None:
        job.step_sync("read", made(str if job.attempt == 1 else int), "words")
        fail_at(job, 1)

    job_id = submit(work)
    attempt(job_id)
    row = attempt(job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "step_changed")
    assert "result type" in row["error"]["message"]


def wrong() -> int:
    return "many"


def nul() -> str:
    return "a\x00b"


def unreadable() -> "NoSuchType":  # noqa: F821
    return None


def unstorable() -> Client:
    return Client()


@pytest.mark.parametrize("function", [wrong, nul, unreadable, unstorable])
def test_result_that_cannot_be_saved_fails_the_job(submit, attempt, saved, function):
    def work(job: JobContext) -> None:
        job.step_sync("step", function)

    job_id = submit(work)
    row = attempt(job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "invalid_result")
    assert saved(job_id) == {}


def test_result_that_only_the_database_refuses_fails_its_job_alone(submit, attempt, saved, session):
    session.execute(
        text("""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'too large for jsonb' USING ERRCODE = '54000'; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON holdfast.steps
            FOR EACH ROW WHEN (NEW.result = '13') EXECUTE FUNCTION refuse();
        """)
    )
    session.commit()

    def work(job: JobContext) -> None:
        for number in range(100):
            job.step_sync("read", read, number)

    job_id = submit(work)
    row = attempt(job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "invalid_result")
    assert set(saved(job_id).values()) == set(range(13)), "what came before is saved, what came after is not"


def test_steps_run_at_the_same_time(submit, attempt, saved):
    at_work, all_there = [], asyncio.Event()

    async def meet(number: int) -> int:
        at_work.append(number)
        if len(at_work) == 1_000:
            all_there.set()
        await all_there.wait()
        return number

    async def work(job: JobContext) -> int:
        values = await asyncio.gather(*(job.step("meet", meet, number) for number in range(1_000)))
        fail_at(job, 1)
        return sum(values)

    job_id = submit(work)
    attempt(job_id)
    assert len(saved(job_id)) == 1_000
    assert attempt(job_id)["result"] == sum(range(1_000))
    assert len(at_work) == 1_000


def test_two_steps_at_the_same_time_cannot_have_one_key(submit, attempt):
    async def work(job: JobContext) -> None:
        both = (job.step("double", Calls().double_async, 1, key="x") for _ in range(2))
        await asyncio.gather(*both)

    row = attempt(submit(work))
    assert (row["status"], row["error"]["code"]) == ("failed", "step_misuse")


def test_steps_whose_order_is_left_to_chance_need_keys(submit, attempt, calls):
    async def work(job: JobContext) -> None:
        async def branch(number):
            await job.step("double", calls.double_async, number)

        await asyncio.gather(branch(1), branch(2))

    row = attempt(submit(work))
    assert (row["status"], row["error"]["code"]) == ("failed", "step_misuse")


@pytest.mark.parametrize("kind", ["sync in async", "async in sync", "empty name"])
def test_misused_step_is_told_plainly(submit, attempt, calls, kind):
    async def sync_in_async(job: JobContext) -> None:
        job.step_sync("double", calls.double, 1)

    def async_in_sync(job: JobContext) -> None:
        job.step_sync("double", calls.double_async, 1)

    def empty_name(job: JobContext) -> None:
        job.step_sync("", calls.double, 1)

    tasks = {"sync in async": sync_in_async, "async in sync": async_in_sync, "empty name": empty_name}
    row = attempt(submit(tasks[kind]))
    assert (row["status"], row["error"]["code"]) == ("failed", "step_misuse")


def give_away(database, job_id):
    """Let the job move on to another worker."""
    with database.transaction() as session:
        worker = session.execute(text("SELECT worker FROM holdfast.jobs WHERE id = :id"), {"id": job_id})
        leases.rescue_from_workers(session, [worker.scalar_one()], limit=10)
        store.claim(session, job_id, worker="worker-2", process=PROCESS, lease=LEASE)


def test_stale_attempt_cannot_save_a_step(submit, attempt, saved, holdfast, session):
    reached = []

    def work(job: JobContext) -> None:
        job.step_sync("before", read, 1)
        give_away(holdfast.database, job.id)
        for number in range(100_000):
            job.step_sync("after", read, number)
        reached.append("the end")

    job_id = submit(work)
    assert attempt(job_id)["status"] == "processing"
    assert reached == []
    assert attempt_outcomes(session, job_id) == ["lost", None]
    assert not any(name == "after" for name, _ in saved(job_id))


def test_slow_step_is_saved_before_the_task_goes_on(submit, attempt, saved):
    seen = []

    def slow() -> int:
        threading.Event().wait(0.02)
        return 1

    def work(job: JobContext) -> None:
        for number in range(3):
            job.step_sync("quick", read, number)
            job.step_sync("slow", slow)
            seen.append(len(saved(job.id)))

    attempt(submit(work))
    assert seen == [2, 4, 6]


def test_quick_step_that_waited_is_saved_before_the_task_goes_on(submit, attempt, saved):
    """Whatever it waited for may have been paid for."""
    seen = []

    async def ask() -> int:
        await asyncio.sleep(0)
        return 1

    async def work(job: JobContext) -> None:
        for _ in range(3):
            await job.step("ask", ask)
            seen.append(len(await asyncio.to_thread(saved, job.id)))

    attempt(submit(work))
    assert seen == [1, 2, 3]


def test_function_not_known_to_be_quick_starts_when_all_before_it_is_saved(submit, attempt, saved):
    seen = []

    def work(job: JobContext) -> None:
        def call() -> int:
            seen.append(len(saved(job.id)))
            return 1

        for number in range(5):
            job.step_sync("quick", read, number)
        job.step_sync("call", call)

    attempt(submit(work))
    assert seen == [5]


def test_steps_of_an_attempt_that_failed_are_saved_before_its_end(submit, attempt, saved):
    def work(job: JobContext) -> None:
        for number in range(500):
            job.step_sync("read", read, number)
        fail_at(job, 1)

    job_id = submit(work)
    attempt(job_id)
    assert len(saved(job_id)) == 500


def test_ten_thousand_steps_take_few_statements(submit, attempt, saved):
    statements = []

    def work(job: JobContext) -> int:
        engine = job._steps._writer()._database.engine
        event.listen(engine, "after_cursor_execute", lambda *_: statements.append(1))
        return sum(job.step_sync("read", read, number) for number in range(10_000))

    job_id = submit(work)
    assert attempt(job_id)["result"] == sum(range(10_000))
    assert len(saved(job_id)) == 10_000
    print(f"{len(statements) / 10:.0f} statements for 1,000 steps")
    assert len(statements) < 500


def test_fresh_job_asks_for_no_saved_steps(submit, attempt, holdfast):
    asked = []

    def work(job: JobContext) -> None:
        job._steps._read = lambda *_: asked.append("read")
        job.step_sync("read", read, 1)

    assert attempt(submit(work))["status"] == "completed"
    assert asked == []


def terminate_connections(admin, url):
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
        [url.rpartition("/")[2].partition("?")[0]],
    )


def test_steps_outlast_the_loss_of_every_connection(submit, attempt, saved, admin, database_url, session):
    def work(job: JobContext) -> int:
        total = 0
        for number in range(300):
            total += job.step_sync("read", read, number)
            if number % 100 == 50:
                terminate_connections(admin, database_url)
        return total

    job_id = submit(work)
    session.close()
    assert attempt(job_id)["result"] == sum(range(300))
    assert len(saved(job_id)) == 300


def test_cancelled_step_saves_nothing(submit, saved, holdfast, session):
    started = threading.Event()

    async def wait() -> int:
        started.set()
        await asyncio.sleep(3600)
        return 1

    async def work(job: JobContext) -> None:
        await job.step("before", read, 1)
        await job.step("wait", wait)

    job_id = submit(work)
    thread = threading.Thread(target=run_job, args=(holdfast, job_id))
    thread.start()
    assert started.wait(30)
    store.cancel(session, job_id)
    session.commit()
    thread.join(30)
    assert job_row(session, job_id)["status"] == "cancelled"
    assert saved(job_id) == {("before", "#0"): 1}


def test_step_of_a_cancelled_job_is_not_begun(submit, attempt, holdfast, calls):
    def work(job: JobContext) -> None:
        with holdfast.database.transaction() as own:
            store.cancel(own, job.id)
        wait_for(lambda: job.cancelled, "the stop sign")
        job.step_sync("double", calls.double, 1)

    assert attempt(submit(work))["status"] == "cancelled"
    assert calls.names == []


def test_key_for_effects_outside_is_that_of_the_job_in_every_attempt(submit, attempt):
    keys = []

    def work(job: JobContext) -> None:
        keys.append((job.idempotency_key("charge"), job.idempotency_key("mail")))
        fail_at(job, 1)

    job_id = submit(work)
    attempt(job_id)
    attempt(job_id)
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 2
