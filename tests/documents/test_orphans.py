"""Uploads that nobody needs are removed from the store; what a document or a job needs stays."""

import os
import time
from datetime import timedelta
from uuid import uuid4

import pytest

from factories import ERROR, claim_job
from holdfast.errors import StorageUnavailable
from holdfast.jobs import store

DAY = timedelta(days=1)


@pytest.fixture
def clean(library):
    """Run the task as a worker does; returns how many uploads it removed."""

    def clean(of=library):
        task = of.holdfast.tasks["remove_orphaned_uploads"]
        with of.holdfast.database.transaction() as session:
            job_id = task.enqueue(session).job_id
        of.run(task, job_id)
        job = next(job for job in of.jobs() if job["id"] == job_id)
        assert job["status"] == "completed", job["error"]
        return job["result"]

    return clean


def age(library, key, by=2 * DAY):
    """Let an upload have been stored so much earlier."""
    moment = time.time() - by.total_seconds()
    os.utime(library.folder / key, (moment, moment))


def stored(library, content=b"nobody's"):
    """An upload whose request died before it was recorded, two days ago."""

    async def pieces():
        yield content

    key = library.loop.run(library.documents.storage.save(pieces())).key
    age(library, key)
    return key


def uploads(library):
    return {key for key in library.blobs() if key.startswith("uploads/")}


def end(library, upload, status):
    with library.holdfast.database.session() as session:
        if status == "failed":
            store.fail(session, claim_job(session, upload.job_id), ERROR, None)
        else:
            store.cancel(session, upload.job_id)
        session.commit()


def test_upload_that_nobody_recorded_is_removed_after_a_day(library, clean):
    kept, _ = library.ingest("some text to be kept")
    age(library, kept.key)
    old, young = stored(library), stored(library)
    age(library, young, timedelta(hours=23))

    assert clean() == 1
    assert uploads(library) == {kept.key, young}
    assert old not in uploads(library)
    assert library.found("text kept") == ["notes.txt"]


@pytest.mark.parametrize("status", ["queued", "failed", "cancelled"])
def test_upload_of_a_job_that_has_not_completed_stays_until_the_job_is_gone(library, clean, status):
    upload = library.upload("some text")
    age(library, upload.key)
    if status != "queued":
        end(library, upload, status)

    assert clean() == 0
    library.execute("DELETE FROM holdfast.jobs WHERE id = :id", id=upload.job_id)
    assert clean() == 1
    assert uploads(library) == set()


def test_active_upload_stays_when_its_job_is_gone_and_goes_with_its_document(library, clean):
    first, _ = library.ingest("the first text")
    failed = library.upload("the second text")
    end(library, failed, "failed")
    age(library, first.key)
    library.execute("DELETE FROM holdfast.jobs WHERE id = :id", id=first.job_id)

    assert clean() == 0
    assert library.call("delete", first.document_id)
    assert uploads(library) == set()


def test_files_that_are_not_uploads_are_left_alone(library, clean):
    stored(library)
    others = ["uploads/notes.txt", f"uploads/{uuid4()}/part", "elsewhere"]
    for name in others:
        (library.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (library.folder / name).write_text("not ours")
        age(library, name)

    assert clean() == 1
    assert set(others) < set(library.blobs())


def test_store_of_another_database_is_left_alone(library, clean, caplog):
    key = stored(library)
    (library.folder / "holdfast-database").write_text("another")

    assert clean() == 0
    assert uploads(library) == {key}
    assert "belongs to another database" in caplog.text


def test_store_that_is_away_is_told_and_tried_again(library, clean):
    stored(library)
    library.folder.rename(library.folder.with_name("away"))
    library.folder.write_text("a file where the folder was")
    task = library.holdfast.tasks["remove_orphaned_uploads"]
    with library.holdfast.database.transaction() as session:
        job_id = task.enqueue(session).job_id
    library.run(task, job_id)

    job = library.jobs()[-1]
    assert (job["status"], job["error"]["code"]) == ("queued", StorageUnavailable.code)


def test_task_can_be_left_out(make_library):
    names = {task.name for task in make_library(orphans_after=None).holdfast.tasks}

    assert "remove_orphaned_uploads" not in names
