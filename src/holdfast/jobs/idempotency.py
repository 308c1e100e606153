"""Idempotency keys: asking twice for the same makes one job.

A key belongs to an owner and a task, and stands for one request. Whoever comes second is given the job of
the first, whatever has become of it: a failed job too, so that a client that repeats itself after a lost
answer never starts work again without knowing.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from holdfast.errors import IdempotencyConflict, InvalidArguments
from holdfast.jobs import store
from holdfast.jobs.models import Job
from holdfast.states import JobStatus

# How long a key is held to its request; the same key then stands for a new one.
KEPT: Final = timedelta(hours=24)
MAX_KEY_LENGTH: Final = 255
KEY_PATTERN: Final = r"^[\x21-\x7e]+$"


@dataclass(frozen=True)
class KnownRequest:
    """What was asked for with a key before: its job, and the batch if it was one."""

    job_id: UUID
    status: JobStatus
    request_hash: bytes
    is_kept: bool
    batch_id: UUID | None


def check_key(key: str) -> None:
    """Check that this can be an idempotency key.

    Raises:
        InvalidArguments: it is empty, too long, or not of printable ASCII without spaces.
    """
    if len(key) > MAX_KEY_LENGTH or re.fullmatch(KEY_PATTERN, key) is None:
        raise InvalidArguments(
            f"An idempotency key has 1 to {MAX_KEY_LENGTH} printable ASCII characters and no spaces."
        )


def hash_request(request: JsonValue) -> bytes:
    """The SHA-256 of a request, whatever order its fields came in."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).digest()


def enqueue_once(session: Session, job: store.NewJob) -> KnownRequest | None:
    """Write a job with an idempotency key, unless the key was used for the same request before.

    `None`: the job was written. One statement if so; one more if not.

    Raises:
        IdempotencyConflict: the key was used for something else, less than `KEPT` ago.
    """
    assert job.idempotency_key is not None  # noqa: S101 - the caller's to see to
    while not store.enqueue(session, job):
        known = find_request(session, job.owner_id, job.task, job.idempotency_key)
        if known is None:
            continue  # deleted since, so that there is room now
        if known.is_kept:
            return _checked(known, job)
        store.release_key(session, known.job_id, job.idempotency_key)
    return None


def find_request(session: Session, owner_id: UUID | None, task: str, key: str) -> KnownRequest | None:
    """What the owner asked of the task with this key, if it was committed."""
    row = session.execute(
        select(
            Job.id,
            Job.status,
            Job.request_hash,
            Job.created_at > func.now() - KEPT,
            Job.batch_id,
        ).where(Job.owner_id == owner_id, Job.task == task, Job.idempotency_key == key)
    ).one_or_none()
    if row is None:
        return None
    job_id, status, request_hash, is_kept, batch_id = row
    return KnownRequest(job_id, JobStatus(status), request_hash or b"", is_kept, batch_id)


def _checked(known: KnownRequest, job: store.NewJob) -> KnownRequest:
    if known.request_hash != job.request_hash:
        raise IdempotencyConflict
    return known
