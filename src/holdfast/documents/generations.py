"""The chunks of a generation: written batch by batch, made visible at once, removed when they are history."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import Connection
from psycopg.errors import ForeignKeyViolation
from sqlalchemy import and_, delete, exists, func, select, update
from sqlalchemy.orm import Session

from holdfast.ai import Vector, encode_halfvec
from holdfast.documents.library import Generation
from holdfast.documents.models import Chunk, Document
from holdfast.documents.reading import Chunk as TextChunk
from holdfast.errors import DocumentError

_COPY = """
    COPY holdfast.chunks (document_id, generation, index, collection_id, text, page, section, embedding)
    FROM STDIN (FORMAT BINARY)
"""
# A halfvec's binary form is what `encode_halfvec` gives; psycopg passes bytes through as they are.
_COPY_TYPES = ["uuid", "int4", "int4", "uuid", "text", "int4", "text", "bytea"]


@dataclass(frozen=True)
class Facts:
    """What becomes known of a document when a generation of it is whole."""

    content_hash: bytes
    pipeline: str
    media_type: str
    title: str | None
    size_bytes: int
    storage_key: str
    pages: int | None
    chunk_count: int


@dataclass(frozen=True)
class Replaced:
    """What a generation took the place of; a document's first one replaces nothing."""

    storage_key: str | None


def copy_chunks(
    session: Session,
    generation: Generation,
    collection_id: UUID,
    batch: Sequence[tuple[TextChunk, Vector]],
) -> None:
    """Add chunks with their embeddings.

    Raises:
        DocumentError: the document was deleted meanwhile.
    """
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, Connection)  # noqa: S101 - psycopg is the only driver
    try:
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types(_COPY_TYPES)
            for chunk, vector in batch:
                copy.write_row(
                    (
                        generation.document_id,
                        generation.number,
                        chunk.index,
                        collection_id,
                        chunk.text,
                        chunk.page,
                        chunk.section,
                        encode_halfvec(vector),
                    )
                )
    # The driver's own error: this goes past SQLAlchemy, which would wrap it.
    except ForeignKeyViolation as error:
        raise deleted() from error


def drop_chunks(session: Session, generation: Generation) -> None:
    """Remove what was written of a generation, unless it is the active one.

    A commit whose answer was lost may have made it active: whoever cleans up then cannot know.
    """
    is_active = and_(Document.id == Chunk.document_id, Document.generation == Chunk.generation)
    session.execute(
        delete(Chunk).where(
            Chunk.document_id == generation.document_id,
            Chunk.generation == generation.number,
            ~exists().where(is_active),
        )
    )


def drop_older(session: Session, generation: Generation) -> None:
    """Remove the chunks of all generations before this one."""
    session.execute(
        delete(Chunk).where(Chunk.document_id == generation.document_id, Chunk.generation < generation.number)
    )


def activate(session: Session, generation: Generation, facts: Facts) -> Replaced | None:
    """Make this generation the one that searches see, together with its hash and figures.

    `None`: a newer upload has been settled, or the document is gone; nothing was changed.
    """
    is_newer = Document.settled < generation.number
    locked = select(Document.storage_key).where(Document.id == generation.document_id, is_newer)
    replaced = session.execute(locked.with_for_update()).one_or_none()
    if replaced is None:
        return None
    session.execute(
        update(Document)
        .where(Document.id == generation.document_id)
        .values(
            generation=generation.number,
            settled=generation.number,
            content_hash=facts.content_hash,
            pipeline=facts.pipeline,
            media_type=facts.media_type,
            title=facts.title,
            size_bytes=facts.size_bytes,
            storage_key=facts.storage_key,
            pages=facts.pages,
            chunk_count=facts.chunk_count,
            ingested_at=func.now(),
        )
    )
    return Replaced(replaced.storage_key)


def settle_unchanged(session: Session, generation: Generation, content_hash: bytes, pipeline: str) -> bool:
    """Settle an upload that brings what is active already; `False`: it does not, or not any more."""
    settled = session.execute(
        update(Document)
        .where(
            Document.id == generation.document_id,
            Document.content_hash == content_hash,
            Document.pipeline == pipeline,
            Document.settled < generation.number,
        )
        .values(settled=generation.number)
        .returning(Document.id)
    )
    return settled.one_or_none() is not None


def get_document(session: Session, document_id: UUID) -> Document | None:
    """The document as it stands now."""
    return session.scalars(select(Document).where(Document.id == document_id)).one_or_none()


def deleted() -> DocumentError:
    """The error of an ingestion whose document was deleted."""
    return DocumentError("The document was deleted.", code="document_deleted", stage="write")
