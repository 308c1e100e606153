"""Enqueueing: in the caller's transaction, handed over after its commit, refused when it cannot work."""

import asyncio
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal
from uuid import UUID

import pytest
import redis
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from broker_queue import waiting_jobs
from factories import job_row, make_owner
from holdfast import Holdfast, InvalidArguments, JobContext
from holdfast.errors import ConfigurationError
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import ApiKey
from holdfast.jobs.task import RESERVED

SOON = timedelta(seconds=10)


class Colour(StrEnum):
    RED = "red"


class Options(BaseModel):
    depth: int = 1


def paint(
    job: JobContext,
    document_id: UUID,
    style: Literal["short", "long"] = "short",
    colour: Colour = Colour.RED,
    options: Options | None = None,
) -> str:
    return style


async def paint_later(job: JobContext, text: str = "", numbers: list[float] | None = None) -> None: ...


@pytest.fixture
def task(holdfast):
    return holdfast.task(retries=2, queue="paintings", priority=3)(paint)


@pytest.fixture
def published(holdfast, redis_url, redis_prefix):
    """The ids of the jobs whose messages wait in the broker."""
    with redis.Redis.from_url(redis_url) as client:

        def ids():
            assert holdfast.outbox.flush(SOON)
            return waiting_jobs(client, redis_prefix)

        yield ids


def count_jobs(session):
    return session.execute(text("SELECT count(*) FROM holdfast.jobs")).scalar_one()


def test_job_is_written_after_the_owner_it_was_made_with(session, task):
    key = ApiKey(id=new_id(), name="new", prefix="new", hash=b"")
    session.add(key)
    job_id = task.enqueue(session, owner=key.id, document_id=new_id()).job_id
    session.commit()
    assert job_row(session, job_id)["owner_id"] == key.id


def test_job_is_written_as_asked(session, task):
    owner, _ = make_owner(session)
    document = new_id()
    accepted = task.enqueue(
        session, owner=owner, metadata={"from": "test"}, document_id=document, options=Options(depth=2)
    )
    session.commit()

    row = job_row(session, accepted.job_id)
    assert row["args"] == {"document_id": str(document), "options": {"depth": 2}}
    assert (row["task"], row["queue"], row["priority"], row["max_attempts"]) == ("paint", "paintings", 3, 3)
    assert (row["status"], row["attempt"], row["owner_id"]) == ("queued", 0, owner.id)
    assert row["metadata_"] == {"from": "test"}
    assert accepted.model_dump(mode="json") == {
        "job_id": str(accepted.job_id),
        "status": "queued",
        "created": True,
        "urls": {"job": f"/v1/jobs/{accepted.job_id}"},
    }


def test_nothing_is_published_before_the_commit(session, task, published):
    first = task.enqueue(session, document_id=new_id()).job_id
    second = task.enqueue(session, document_id=new_id()).job_id
    assert published() == []

    session.commit()
    assert published() == [first, second]


def test_rolled_back_job_does_not_exist_and_is_not_published(session, task, published):
    task.enqueue(session, document_id=new_id())
    session.rollback()
    kept = task.enqueue(session, document_id=new_id()).job_id
    session.commit()

    assert published() == [kept]
    assert count_jobs(session) == 1


def test_session_that_is_closed_without_commit_publishes_nothing(holdfast, task, published):
    with holdfast.database.session() as session:
        task.enqueue(session, document_id=new_id())

    assert published() == []


def test_commit_that_fails_publishes_nothing(session, task, published):
    task.enqueue(session, document_id=new_id())
    session.execute(text("CREATE TABLE once (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    session.execute(text("INSERT INTO once VALUES (1), (1)"))
    with pytest.raises(IntegrityError):
        session.commit()
    session.rollback()
    session.execute(text("SELECT 1"))
    session.commit()

    assert published() == []


def test_released_savepoint_publishes_only_with_the_outermost_commit(session, task, published):
    with session.begin_nested():
        inner = task.enqueue(session, document_id=new_id()).job_id
    assert published() == []

    session.commit()
    assert published() == [inner]


def test_job_of_a_rolled_back_savepoint_does_not_exist(session, task, published):
    kept = task.enqueue(session, document_id=new_id()).job_id
    savepoint = session.begin_nested()
    task.enqueue(session, document_id=new_id())
    savepoint.rollback()
    session.commit()

    assert kept in published()
    assert count_jobs(session) == 1


def test_async_session_publishes_after_its_commit(holdfast, session, task, published):
    async def enqueue():
        async with holdfast.database.async_session() as own:
            await task.enqueue(own, document_id=new_id())
            await own.rollback()
            accepted = await task.enqueue(own, document_id=new_id())
            before = published()
            await own.commit()
        await holdfast.database.aclose()
        return accepted.job_id, before

    job_id, before = asyncio.run(enqueue())
    assert before == []
    assert published() == [job_id]
    assert count_jobs(session) == 1


@pytest.mark.parametrize("delay", [timedelta(hours=1), 3600, 3600.0])
def test_delayed_job_waits_in_the_database(session, task, published, delay):
    job_id = task.enqueue(session, delay=delay, document_id=new_id()).job_id
    session.commit()

    row = job_row(session, job_id)
    assert row["run_at"] - row["created_at"] == timedelta(hours=1)
    assert row["sent_at"] is None
    assert published() == []


def test_job_with_a_time_waits_in_the_database(session, task, published):
    noon = datetime(2100, 1, 1, 12, tzinfo=UTC)
    job_id = task.enqueue(session, run_at=noon, document_id=new_id()).job_id
    session.commit()

    assert job_row(session, job_id)["run_at"] == noon
    assert published() == []


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"document_id": "not a uuid"},
        {"document_id": UUID(int=1), "style": "medium"},
        {"document_id": UUID(int=1), "unknown": 1},
        {"document_id": UUID(int=1), "options": {"depth": "deep"}},
    ],
)
def test_arguments_that_do_not_fit_are_refused(session, task, arguments):
    with pytest.raises(InvalidArguments):
        task.enqueue(session, **arguments)

    session.commit()
    assert count_jobs(session) == 0


@pytest.mark.parametrize("words", ["a\x00b", "half \ud800", "\\\x00"])
def test_text_that_postgres_cannot_store_is_refused(holdfast, session, words):
    task = holdfast.task(paint_later)
    with pytest.raises(InvalidArguments):
        task.enqueue(session, text=words)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_that_json_does_not_have_is_refused(holdfast, session, number):
    task = holdfast.task(paint_later)
    with pytest.raises(InvalidArguments):
        task.enqueue(session, numbers=[1.0, number])


@pytest.mark.parametrize("words", ["\\u0000", "\\", "\\\\u0000", "\u2028 é 😀"])
def test_text_that_only_looks_unstorable_is_stored(holdfast, session, words):
    task = holdfast.task(paint_later)
    job_id = task.enqueue(session, text=words).job_id
    session.commit()
    assert job_row(session, job_id)["args"] == {"text": words}


@pytest.mark.parametrize("metadata", [{"a": "\x00"}, {"a": object()}, {"a": float("nan")}])
def test_metadata_that_cannot_be_stored_is_refused(session, task, metadata):
    with pytest.raises(InvalidArguments):
        task.enqueue(session, document_id=new_id(), metadata=metadata)


@pytest.mark.parametrize("priority", [-1, 10])
def test_priority_out_of_range_is_refused(session, task, priority):
    with pytest.raises(InvalidArguments):
        task.enqueue(session, document_id=new_id(), priority=priority)


def test_time_without_a_zone_is_refused(session, task):
    with pytest.raises(InvalidArguments):
        task.enqueue(session, document_id=new_id(), run_at=datetime(2100, 1, 1))  # noqa: DTZ001


def test_delay_and_time_together_are_refused(session, task):
    with pytest.raises(InvalidArguments):
        task.enqueue(session, document_id=new_id(), delay=1, run_at=datetime.now(UTC))


def test_positional_arguments_are_refused(session, task):
    with pytest.raises(InvalidArguments):
        task.enqueue(session, *[None] * (len(RESERVED) - 1), new_id())


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_parameter_called_like_one_of_enqueue_is_refused_at_registration(settings, name):
    scope = {}
    exec(f"def task(job, {name}: int): ...", scope)
    with pytest.raises(ConfigurationError, match=name):
        Holdfast(settings).task(scope["task"])


def no_context(): ...


def no_annotation(job: JobContext, words): ...


def many(job: JobContext, *words: str): ...


def positional(job: JobContext, words: str, /): ...


@pytest.mark.parametrize("function", [no_context, no_annotation, many, positional])
def test_function_that_cannot_be_a_task_is_refused(settings, function):
    with pytest.raises(ConfigurationError, match=function.__name__):
        Holdfast(settings).task(function)


@pytest.mark.parametrize(
    "options",
    [{"priority": 10}, {"priority": -1}, {"retries": -1}, {"retry_delay": -1}, {"max_crashes": 0}],
)
def test_options_that_cannot_work_are_refused_at_registration(settings, options):
    def paint(job: JobContext) -> None: ...

    with pytest.raises(ConfigurationError):
        Holdfast(settings).task(**options)(paint)


def test_task_names_are_given_once(holdfast, task):
    with pytest.raises(ConfigurationError, match="paint"):
        holdfast.task(paint)


def test_registered_function_is_still_a_function(task):
    assert task(None, UUID(int=1), "long") == "long"


def test_defaults_added_later_reach_jobs_enqueued_before(holdfast, session, task):
    job_id = task.enqueue(session, document_id=UUID(int=7)).job_id
    session.commit()
    assert task.load_arguments(job_row(session, job_id)["args"]) == {
        "document_id": UUID(int=7),
        "style": "short",
        "colour": Colour.RED,
        "options": None,
    }
