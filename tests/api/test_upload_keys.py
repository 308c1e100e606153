"""Uploads under an idempotency key: one document and one job, and nothing stored of what came again."""

import asyncio

import pytest
from sqlalchemy import func, select

from factories import ERROR, claim_job
from holdfast.documents.models import Collection, Document
from holdfast.jobs import store
from holdfast.jobs.models import Job
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio

TEXT = b"Holdfasts anchor kelp to rock.\n" * 20


async def ingest(client, key, *, name="kelp.txt", content=TEXT, collection="sea"):
    return await client.post(
        "/v1/documents/ingest",
        files={"file": (name, content)},
        data={"collection": collection},
        headers={"Idempotency-Key": key},
    )


def stored(uploads):
    return [path for path in uploads.rglob("*") if path.is_file()]


def counts(session):
    session.rollback()
    return [session.scalar(select(func.count()).select_from(table)) for table in (Job, Document, Collection)]


async def test_same_upload_is_answered_with_the_same_job_and_stored_once(client, session, uploads):
    first = await ingest(client, "k")
    kept = stored(uploads)
    again = await ingest(client, "k")

    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json() | {"created": False}
    assert again.headers["Location"] == first.headers["Location"]
    assert stored(uploads) == kept
    assert counts(session) == [1, 1, 1]
    assert session.scalars(select(Document.latest_generation)).all() == [1]


@pytest.mark.parametrize("change", [{"content": TEXT * 2}, {"name": "weed.txt"}, {"collection": "shore"}])
async def test_another_upload_with_the_same_key_is_refused_and_not_stored(client, session, uploads, change):
    await ingest(client, "k")
    kept = stored(uploads)
    assert_problem(await ingest(client, "k", **change), 422, "idempotency_conflict")
    assert stored(uploads) == kept
    assert counts(session) == [1, 1, 1]
    assert session.scalars(select(Document.latest_generation)).all() == [1]


async def test_same_upload_with_another_key_or_of_another_owner_is_another(
    client, stranger, session, uploads
):
    responses = [await ingest(client, "k"), await ingest(client, "l"), await ingest(stranger, "k")]
    assert [response.status_code for response in responses] == [202] * 3
    assert len(stored(uploads)) == 3
    assert counts(session) == [3, 2, 2]


async def test_failed_upload_is_what_its_key_stands_for(client, session, uploads):
    job_id = (await ingest(client, "k")).json()["job_id"]
    store.fail(session, claim_job(session, job_id), ERROR, None)
    session.commit()
    again = await ingest(client, "k")
    assert (again.status_code, again.json()["status"]) == (200, "failed")
    assert len(stored(uploads)) == 1


async def test_document_that_was_deleted_is_still_named(client, session, uploads):
    first = (await ingest(client, "k")).json()
    await client.delete(first["urls"]["document"])
    again = await ingest(client, "k")
    assert again.status_code == 200
    assert again.json() == first | {"created": False, "status": "cancelled"}
    assert stored(uploads) == []


async def test_many_concurrent_uploads_with_one_key_make_one_document(client, session, uploads):
    responses = await asyncio.gather(*(ingest(client, "k") for _ in range(50)))
    assert sorted(response.status_code for response in responses) == [200] * 49 + [202]
    assert len({response.json()["job_id"] for response in responses}) == 1
    assert len(stored(uploads)) == 1
    assert counts(session) == [1, 1, 1]
