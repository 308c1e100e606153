"""HNSW indexes over the vectors of large collections, made and dropped while everything else runs.

One partial index for each collection that is large enough. An index over all collections together would
find too little in any that is a small part of it, and every COPY into a small collection would pay for it.
Measured in `docs/decisions/0003-search.md`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import Connection, Engine, exists, func, select, text
from sqlalchemy.orm import Session

from holdfast.documents.models import Collection, Document
from holdfast.errors import Retry
from holdfast.jobs.models import SCHEMA, Job
from holdfast.states import JobStatus

INDEX_TASK = "index_vectors"
# Comparing with all of so many chunks takes 20 ms at 384 dimensions and 80 at 1,536; from here on it is felt.
INDEX_ABOVE = 20_000
_PREFIX = "chunks_vectors_"
_LOCK = 0x686F6C64_76656374  # "holdvect"


class IndexResult(BaseModel):
    """The names of the indexes that a job made and dropped."""

    made: list[str] = []
    dropped: list[str] = []


def is_usable(session: Session, collection_id: UUID, dimensions: int) -> bool:
    """Whether there is a finished index over the collection's vectors of so many dimensions."""
    name = f"{SCHEMA}.{_name(collection_id, dimensions)}"
    is_valid = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    return bool(session.execute(is_valid, {"name": name}).scalar())


def is_missing(session: Session, document_id: UUID, pipeline: str, dimensions: int, *, above: int) -> bool:
    """Whether the document's collection has more than `above` chunks of this pipeline, and no index of them.

    `False` as well while a job is queued or at work that will see to it.
    """
    collection_id = session.scalar(select(Document.collection_id).where(Document.id == document_id))
    if collection_id is None or is_usable(session, collection_id, dimensions):
        return False
    of_pipeline = (Document.collection_id == collection_id, Document.pipeline == pipeline)
    if (session.scalar(select(func.sum(Document.chunk_count)).where(*of_pipeline)) or 0) <= above:
        return False
    unfinished = Job.status.in_([JobStatus.QUEUED, JobStatus.PROCESSING])
    return not session.scalar(select(exists().where(Job.task == INDEX_TASK, unfinished)))


def maintain(engine: Engine, pipeline: str, dimensions: int, *, above: int) -> IndexResult:
    """Make the indexes that are missing, and drop those of deleted collections and of builds that died.

    Takes minutes for millions of chunks and blocks nobody. Safe to be killed at any time and done again.

    Raises:
        Retry: another worker is at it.
    """
    result = IndexResult()
    with _alone(engine) as connection:
        for name in _useless(connection):
            connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {SCHEMA}.{name}"))
            result.dropped.append(name)
        for collection_id in _large(connection, pipeline, above):
            name = _name(collection_id, dimensions)
            if name not in _indexes(connection):
                connection.execute(text(_create(name, collection_id, dimensions)))
                result.made.append(name)
    return result


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Not for the pool again: the lock and the settings go when it is closed, however this ends.
        connection.detach()
        if not connection.scalar(select(func.pg_try_advisory_lock(_LOCK))):
            raise Retry("Another worker is making indexes.", after=60, code="index_in_the_making")
        # What an index needs at most while it is made; one that does not fit takes ten times as long.
        connection.execute(text("SET maintenance_work_mem = '1GB'"))
        # Parallel workers would need that much shared memory, of which a container has 64 MB.
        connection.execute(text("SET max_parallel_maintenance_workers = 0"))
        yield connection


def _large(connection: Connection, pipeline: str, above: int) -> list[UUID]:
    chunks = func.sum(Document.chunk_count)
    query = select(Document.collection_id).where(Document.pipeline == pipeline)
    return list(connection.scalars(query.group_by(Document.collection_id).having(chunks > above)))


def _useless(connection: Connection) -> list[str]:
    kept = {collection_id.hex for collection_id in connection.scalars(select(Collection.id))}
    return [
        name
        for name, is_valid in _indexes(connection).items()
        if not is_valid or name.removeprefix(_PREFIX).partition("_")[0] not in kept
    ]


def _indexes(connection: Connection) -> dict[str, bool]:
    of_chunks = text(
        "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indrelid = CAST(:chunks AS regclass) AND starts_with(relname, :prefix)"
    )
    rows = connection.execute(of_chunks, {"chunks": f"{SCHEMA}.chunks", "prefix": _PREFIX})
    return {name: is_valid for name, is_valid in rows}  # noqa: C416 - rows are no pairs to mypy


def _name(collection_id: UUID, dimensions: int) -> str:
    return f"{_PREFIX}{collection_id.hex}_{dimensions:d}"


def _create(name: str, collection_id: UUID, dimensions: int) -> str:
    return (
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {SCHEMA}.chunks"
        f" USING hnsw ((embedding::halfvec({dimensions:d})) halfvec_cosine_ops)"
        f" WHERE collection_id = '{collection_id}' AND vector_dims(embedding) = {dimensions:d}"
    )
