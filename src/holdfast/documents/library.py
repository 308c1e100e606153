"""Collections and documents: every read and write outside of ingesting and searching. Sync `Session`s."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from holdfast.documents.models import Collection, Document
from holdfast.documents.views import CollectionView, DocumentView
from holdfast.jobs import store
from holdfast.jobs.models import Job

INGEST_TASK = "ingest_document"


@dataclass(frozen=True)
class Generation:
    """The document an upload belongs to, and the number its chunks are written under."""

    document_id: UUID
    number: int


def add_upload(session: Session, owner_id: UUID, *, collection: str, name: str) -> Generation:
    """Find or make collection and document, and give the upload the document's next generation."""
    made_collection = insert(Collection).values(owner_id=owner_id, name=collection)
    # The update changes nothing; it makes RETURNING answer for a collection that was there already.
    found = made_collection.on_conflict_do_update(
        index_elements=[Collection.owner_id, Collection.name], set_={"name": made_collection.excluded.name}
    )
    collection_id = session.execute(found.returning(Collection.id)).scalar_one()
    made = insert(Document).values(collection_id=collection_id, name=name)
    numbered = made.on_conflict_do_update(
        index_elements=[Document.collection_id, Document.name],
        set_={"latest_generation": Document.latest_generation + 1},
    )
    row = session.execute(numbered.returning(Document.id, Document.latest_generation)).one()
    return Generation(*row)


def renew_upload(session: Session, generation: Generation) -> Generation | None:
    """Give the document's latest upload the next number, to ingest it again.

    `None`: it is not the latest any more, it was ingested, or the document was deleted.
    """
    renewed = session.execute(
        update(Document)
        .where(
            Document.id == generation.document_id,
            Document.latest_generation == generation.number,
            Document.settled < generation.number,
        )
        .values(latest_generation=Document.latest_generation + 1)
        .returning(Document.id, Document.latest_generation)
    ).one_or_none()
    return None if renewed is None else Generation(*renewed)


def document_of(session: Session, job_id: UUID) -> UUID:
    """The document whose upload this job ingests."""
    document_id = select(Job.args["document_id"].as_string()).where(Job.id == job_id)
    return UUID(session.execute(document_id).scalar_one())


def set_latest_job(session: Session, generation: Generation, job_id: UUID) -> None:
    """Remember the job that ingests the document's latest upload."""
    session.execute(
        update(Document).where(Document.id == generation.document_id).values(latest_job_id=job_id)
    )


def find_collection(session: Session, owner_id: UUID, name: str) -> UUID | None:
    """The id of the owner's collection of this name."""
    return session.execute(
        select(Collection.id).where(Collection.owner_id == owner_id, Collection.name == name)
    ).scalar_one_or_none()


def list_collections(session: Session, owner_id: UUID) -> list[CollectionView]:
    """The owner's collections by name, with what can be found in them."""
    rows = session.execute(
        select(
            Collection.name,
            func.count(Document.generation),
            func.sum(Document.chunk_count),
            Collection.created_at,
        )
        .outerjoin(Document, Document.collection_id == Collection.id)
        .where(Collection.owner_id == owner_id)
        .group_by(Collection.id)
        .order_by(Collection.name)
    )
    return [CollectionView(name, documents, chunks or 0, made) for name, documents, chunks, made in rows]


def list_documents(
    session: Session, owner_id: UUID, *, collection: str | None, limit: int, before: UUID | None
) -> list[DocumentView]:
    """The owner's documents, newest first; `before` continues after the document of that id."""
    query = _documents(Collection.owner_id == owner_id).order_by(Document.id.desc()).limit(limit)
    if collection is not None:
        query = query.where(Collection.name == collection)
    if before is not None:
        query = query.where(Document.id < before)
    return [_view(row) for row in session.execute(query)]


def get_document(session: Session, owner_id: UUID, document_id: UUID) -> DocumentView | None:
    """The document, if it is the owner's."""
    query = _documents(and_(Collection.owner_id == owner_id, Document.id == document_id))
    row = session.execute(query).one_or_none()
    return None if row is None else _view(row)


def delete_documents(
    session: Session, owner_id: UUID, *, document_id: UUID | None = None, collection: str | None = None
) -> list[str] | None:
    """Delete one document, or all of a collection, with their chunks; unfinished jobs are cancelled.

    Returns the keys of all uploads they were given, for removal once this is committed; `None`: there are no
    such documents.
    """
    query = (
        select(Document.id, Document.storage_key)
        .join(Collection, Collection.id == Document.collection_id)
        .where(Collection.owner_id == owner_id)
        # Locked in one order, so that two deletions wait for each other and not crosswise.
        .order_by(Document.id)
        .with_for_update(of=Document)
    )
    if document_id is not None:
        query = query.where(Document.id == document_id)
    if collection is not None:
        query = query.where(Collection.name == collection)
    documents = session.execute(query).all()
    if not documents:
        return None
    document_ids = [document_id for document_id, _ in documents]
    jobs = session.execute(_ingestions(owner_id, document_ids).order_by(Job.id)).all()
    for job_id, _ in jobs:
        store.cancel(session, job_id)
    session.execute(delete(Document).where(Document.id.in_(document_ids)))
    # The job of the active upload may have been deleted when it was old.
    active = {key for _, key in documents if key is not None}
    return [*active.union(key for _, key in jobs)]


def older_uploads(session: Session, owner_id: UUID | None, generation: Generation) -> list[str]:
    """The keys of the uploads that the document was given before this one."""
    older = Job.args["generation"].as_integer() < generation.number
    rows = session.execute(_ingestions(owner_id, [generation.document_id]).where(older))
    return [key for _, key in rows]


def delete_collection(session: Session, owner_id: UUID, name: str) -> bool:
    """Delete an emptied collection; `False` if the owner has none of this name."""
    deleted = session.execute(
        delete(Collection)
        .where(Collection.owner_id == owner_id, Collection.name == name)
        .returning(Collection.id)
    )
    return deleted.one_or_none() is not None


def _ingestions(owner_id: UUID | None, document_ids: Sequence[UUID]) -> Select[UUID, str]:
    # Every upload is named by its job. This reads all ingestions of the owner: for what happens rarely.
    return select(Job.id, Job.args["storage_key"].as_string()).where(
        Job.owner_id == owner_id,
        Job.task == INGEST_TASK,
        Job.args["document_id"].as_string().in_([str(document_id) for document_id in document_ids]),
    )


def _documents(where: ColumnElement[bool]) -> Select[Document, str, Job]:
    return (
        select(Document, Collection.name, Job)
        .join(Collection, Collection.id == Document.collection_id)
        .outerjoin(Job, Job.id == Document.latest_job_id)
        .where(where)
    )


def _view(row: Row[Document, str, Job | None]) -> DocumentView:
    document, collection, job = row
    return DocumentView(
        id=document.id,
        collection=collection,
        name=document.name,
        is_searchable=document.generation is not None,
        job_id=document.latest_job_id,
        status=None if job is None else job.status,
        error=None if job is None else job.error,
        media_type=document.media_type,
        title=document.title,
        size_bytes=document.size_bytes,
        pages=document.pages,
        chunks=document.chunk_count,
        created_at=document.created_at,
        ingested_at=document.ingested_at,
    )
