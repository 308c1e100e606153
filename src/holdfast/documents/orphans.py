"""Uploads that nobody needs any more: what the store holds, and no document and no job of the database names.

They are left behind when a process dies between storing and recording, when the store is away as one is to be
removed, and when jobs that failed for good are deleted.
"""

import logging
from array import array
from bisect import bisect_left
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, union_all
from sqlalchemy.orm import Session

from holdfast.documents.library import INGEST_TASK
from holdfast.documents.models import Document
from holdfast.documents.storage import UploadStore
from holdfast.jobs.context import JobContext
from holdfast.jobs.database import Database
from holdfast.jobs.models import ApiKey, Job
from holdfast.states import JobStatus

log = logging.getLogger(__name__)

_ROWS = 10_000


def remove_orphans(job: JobContext, database: Database, storage: UploadStore, *, age: timedelta) -> int:
    """Remove the uploads that are older than `age` and needed by nobody; returns how many.

    An upload is needed by the document whose content it is, and by a job that has not completed: it may run,
    or be asked for again. A store that another database has claimed is left alone.

    Raises:
        StorageUnavailable: the store refused or could not be reached; the rest is removed another time.
    """
    with database.session() as session:
        name = session.scalars(select(ApiKey.id).order_by(ApiKey.id).limit(1)).one_or_none()
        needed = _needed(session)
    if name is None:
        return 0  # without an API key there was never an upload
    if not storage.claim(str(name)):
        log.warning("The store of uploads belongs to another database; nothing is removed from it.")
        return 0
    removed = 0
    for key in storage.older_keys(age):
        number = _number(key)
        if number is not None and not _contains(needed, number):
            storage.remove(key)
            removed += 1
        job.progress(removed, None, "uploads removed")
    return removed


def _needed(session: Session) -> "array[int]":
    """What stands for the uploads that are needed: eight bytes for each, as there may be millions."""
    of_job = select(Job.args["storage_key"].as_string())
    waiting = of_job.where(Job.task == INGEST_TASK, Job.status != JobStatus.COMPLETED)
    # One statement, and so one moment: while an ingestion completes its upload is needed all the time.
    both = union_all(select(Document.storage_key).where(Document.storage_key.is_not(None)), waiting)
    keys = session.execute(both.execution_options(yield_per=_ROWS)).scalars()
    numbers = array("Q", (number for key in keys if (number := _number(key)) is not None))
    return array("Q", sorted(numbers))


def _number(key: str) -> int | None:
    """The random half of an upload's id; `None` if this is no key of ours."""
    try:
        return UUID(key.removeprefix("uploads/")).int & 0xFFFF_FFFF_FFFF_FFFF
    except ValueError:
        return None


def _contains(numbers: "array[int]", number: int) -> bool:
    place = bisect_left(numbers, number)
    return place < len(numbers) and numbers[place] == number
