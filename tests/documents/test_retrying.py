"""Retrying an ingestion that failed or was cancelled: from the stored upload, as the newest generation."""

from types import SimpleNamespace

import pytest
from sqlalchemy import select

from factories import LEASE
from holdfast.errors import NotRetryable, UploadMissing
from holdfast.jobs import store
from holdfast.jobs.models import Job
from holdfast.jobs.retrying import RetryRequest

KELP = "Kelp is anchored to rock by a holdfast."


@pytest.fixture
def fail(library):
    """Make the job of an upload end as failed, or be cancelled, before it has run."""

    def fail(upload, *, how="failed"):
        with library.holdfast.database.transaction() as session:
            if how == "cancelled":
                store.cancel(session, upload.job_id)
                return
            claim = store.claim(session, upload.job_id, worker="w", process=1, lease=LEASE)
            store.fail(session, claim, {"code": "provider_error", "message": "No.", "attempt": 1}, None)

    return fail


def retry(library, upload, **how):
    """Retry the upload's job; returns the upload with its new job."""

    async def in_session():
        async with library.holdfast.database.async_session() as session:
            dead = await session.get(Job, upload.job_id)
            accepted = await library.documents.retry(session, dead, RetryRequest(upload.job_id, **how))
            await session.commit()
            return accepted

    accepted = library.loop.run(in_session())
    return SimpleNamespace(**vars(upload) | {"job_id": accepted.job_id, "created": accepted.created})


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_retry_ingests_the_stored_upload(library, fail, how):
    upload = library.upload(KELP)
    fail(upload, how=how)
    again = retry(library, upload)

    assert library.view(upload).job_id == again.job_id
    assert library.view(upload).status == "queued"
    job = library.work(again)
    assert (job["status"], job["retry_of"]) == ("completed", upload.job_id)
    assert library.found("holdfast") == ["notes.txt"]
    assert library.blobs() == [upload.key]
    assert library.view(upload).status == "completed"


def test_retry_replaces_the_good_version_that_was_there(library, fail):
    first, _ = library.ingest("An older text on seaweed.")
    upload = library.upload(KELP)
    fail(upload)
    library.work(retry(library, upload))

    assert library.found("holdfast") == ["notes.txt"]
    assert library.found("older") == []
    assert library.blobs() == [upload.key]
    assert first.document_id == upload.document_id


def test_retry_of_what_a_newer_upload_replaced_is_refused(library, fail):
    upload = library.upload(KELP)
    fail(upload)
    newer = library.upload("A newer text.")
    with pytest.raises(NotRetryable, match="newer upload"):
        retry(library, upload)
    assert library.view(upload).job_id == newer.job_id


def test_upload_is_retried_by_one_job_at_a_time(library, fail):
    upload = library.upload(KELP)
    fail(upload)
    again = retry(library, upload)
    for steps in ("keep", "drop"):
        with pytest.raises(NotRetryable):
            retry(library, upload, steps=steps)
    fail(again)
    assert library.work(retry(library, again))["status"] == "completed"


def test_same_key_retries_once_even_when_the_upload_is_gone(library, fail):
    upload = library.upload(KELP)
    fail(upload)
    again = retry(library, upload, idempotency_key="k")
    (library.folder / upload.key).unlink()
    repeated = retry(library, upload, idempotency_key="k")
    assert (repeated.job_id, repeated.created) == (again.job_id, False)


def test_upload_that_cannot_be_read_is_gone_and_that_is_told(library):
    upload = library.upload("%PDF-1.7 not really", name="broken.pdf")
    assert library.work(upload)["status"] == "failed"
    with pytest.raises(UploadMissing, match="Upload the document again"):
        retry(library, upload)
    assert len(library.jobs()) == 1


def test_upload_of_a_deleted_document_is_not_retried(library, fail):
    upload = library.upload(KELP)
    fail(upload)
    library.call("delete", upload.document_id)
    with pytest.raises(UploadMissing):
        retry(library, upload)


def test_ingestion_that_completed_is_not_retried(library):
    upload, _ = library.ingest(KELP)
    with pytest.raises(NotRetryable, match="completed"):
        retry(library, upload)


def test_retry_that_died_after_its_end_keeps_its_upload(library, fail):
    upload = library.upload(KELP)
    fail(upload)
    again = retry(library, upload)
    library.work(again)
    # As if its worker had died before it could say that the job is completed.
    library.execute(
        "UPDATE holdfast.jobs SET status = 'queued', completed_at = NULL, result = NULL WHERE id = :id",
        id=again.job_id,
    )
    assert library.work(again)["status"] == "completed"
    assert library.blobs() == [upload.key]
    with library.holdfast.database.session() as session:
        assert len(session.scalars(select(Job.id)).all()) == 2
