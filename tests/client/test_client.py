"""The clients against the API itself."""

import pytest
from pydantic import BaseModel

from factories import claim_job, job_row
from holdfast.errors import (
    IdempotencyConflict,
    InvalidArguments,
    NotRetryable,
    RequestRefused,
    UnknownTask,
)
from holdfast.jobs import store
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import ApiKey
from holdfast.states import JobStatus, Steps
from holdfast.testing import run_job


class Wall(BaseModel):
    wall: int
    colours: list[str] | None = None


def test_job_is_submitted_followed_and_gives_its_result(client, holdfast, session, owner):
    job = client.submit("paint", Wall(wall=3), metadata={"house": 7}, priority=1)
    row = job_row(session, job.id)
    assert (row["args"], row["owner_id"], row["priority"]) == (
        {"wall": 3, "colours": None},
        owner.id,
        1,
    )
    assert job.get().metadata == {"house": 7}
    run_job(holdfast, job.id)
    assert job.wait().status is JobStatus.COMPLETED
    assert job.result() == 3
    assert [attempt.outcome for attempt in job.list_attempts().data] == ["completed"]
    assert client.job(str(job.id)).get() == client.get_job(job.id)


def test_same_key_is_the_same_job_and_another_request_is_refused(client):
    first = client.submit("paint", {"wall": 1}, idempotency_key="order-1")
    assert client.submit("paint", {"wall": 1}, idempotency_key="order-1").id == first.id
    with pytest.raises(IdempotencyConflict):
        client.submit("paint", {"wall": 2}, idempotency_key="order-1")


def test_errors_of_the_api_are_those_of_the_engine(client):
    with pytest.raises(UnknownTask):
        client.submit("sing")
    with pytest.raises(InvalidArguments) as raised:
        client.submit("paint", {"wall": "high"})
    assert raised.value.arguments[0].location == ("body", "args", "wall")
    with pytest.raises(RequestRefused) as missing:
        client.get_job(new_id())
    assert (missing.value.code, missing.value.status) == ("job_not_found", 404)
    assert missing.value.request_id
    with pytest.raises(RequestRefused) as forbidden:
        client.list_queues()
    assert forbidden.value.code == "forbidden"


def test_job_is_cancelled_and_retried(client, session):
    job = client.submit("paint", {"wall": 3})
    with pytest.raises(NotRetryable):
        job.retry()
    assert job.cancel().status is JobStatus.CANCELLED
    assert job.cancel().status is JobStatus.CANCELLED
    again = job.retry(steps=Steps.DROP)
    assert client.get_job(again.id).retry_of == job.id
    assert [found.id for found in client.jobs(was_retried=True)] == [job.id]


def test_jobs_are_listed_page_after_page(client):
    made = client.submit_batch("paint", [{"wall": wall} for wall in range(103)])
    assert len(made.job_ids) == 103
    assert client.list_jobs(limit=2).has_more
    assert {job.id for job in client.jobs(task="paint", status=JobStatus.QUEUED)} == set(made.job_ids)
    assert {job.id for job in made.jobs()} == set(made.job_ids)


def test_batch_is_waited_for_and_cancelled(client, holdfast):
    batch = client.submit_batch("paint", [Wall(wall=1), {"wall": 2}], metadata={"house": 7})
    assert batch.get().counts.queued == 2
    for job_id in batch.job_ids:
        run_job(holdfast, job_id)
    assert batch.wait(progress=True).counts.completed == 2
    other = client.submit_batch("paint", [{"wall": 1}])
    assert other.cancel().counts.cancelled == 1
    assert [found.id for found in client.list_batches().data] == [other.id, batch.id]


def test_document_is_ingested_found_and_deleted(client, holdfast, tmp_path):
    (tmp_path / "kelp.md").write_text("# Kelp\n\nKelp grows fast and holds fast.")
    job = client.ingest(tmp_path / "kelp.md", collection="plants")
    run_job(holdfast, job.id)
    assert job.result()["unchanged"] is False
    found = client.search("how fast does kelp grow", "plants", limit=1)
    assert found.data[0].document == "kelp.md"
    assert client.get_document(job.document_id).is_searchable
    assert [document.id for document in client.list_documents(collection="plants").data] == [job.document_id]
    assert [collection.name for collection in client.list_collections().data] == ["plants"]
    client.delete_document(job.document_id)
    client.delete_collection("plants")
    assert not client.list_collections().data


def test_queues_are_paused_and_resumed_by_an_administrators_key(client, session, owner):
    session.get(ApiKey, owner.id).scopes = ["admin"]
    session.commit()
    client.submit("paint", {"wall": 1})
    assert [queue.name for queue in client.list_queues().data] == ["default"]
    assert client.pause_queue("deep & wide").paused_at
    assert client.resume_queue("deep & wide").paused_at is None
    assert client.list_workers().data == []


def test_failure_of_a_job_is_raised_with_its_code(client, session):
    job = client.submit("paint", {"wall": 3})
    error = {"code": "no_paint", "message": "There is no paint.", "stage": "buy", "attempt": 1}
    store.fail(session, claim_job(session, job.id), error, None)
    session.commit()
    with pytest.raises(Exception, match="no paint") as raised:
        job.result(progress=True)
    assert (raised.value.code, raised.value.stage, raised.value.job_id) == ("no_paint", "buy", job.id)


def test_events_of_the_api_are_told_as_the_job_runs(client, holdfast):
    job = client.submit("speak")
    events = job.events()
    assert next(events).job.status is JobStatus.QUEUED
    run_job(holdfast, job.id)
    told = list(events)
    assert [told[0].name, told[-1].name] == ["job.started", "job.completed"]
    spoken = [event.data["text"] for event in told if event.name == "output.delta"]
    assert "".join(spoken) == "Kelp grows fast."
    assert [event.data for event in told if event.name == "page.read"] == [{"page": 9}]
    ids = [event.id for event in told]
    assert ids == sorted(set(ids))
    # Who comes after an event is told the rest, and who comes after the last one how the job stands.
    assert [event.id for event in job.events(after=ids[1])] == ids[2:]
    (end,) = job.events(after=ids[-1])
    assert end.job.status is JobStatus.COMPLETED


def test_waiting_with_a_bar_follows_the_events_of_the_api(client, holdfast, capsys):
    job = client.submit("speak")
    run_job(holdfast, job.id)
    assert job.result(progress=True) == "spoken"
    assert "1/2" in capsys.readouterr().err
