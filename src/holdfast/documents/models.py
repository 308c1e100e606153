"""The tables of the AI backend: collections, documents, their chunks, and embeddings already paid for.

A document has no status of its own that could get stuck: what happens to it is its latest job's status, and
whether it can be searched is whether it has an active generation.
"""

from datetime import datetime
from uuid import UUID

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from holdfast.jobs.ids import new_id
from holdfast.jobs.models import ApiKey, Base, Job


class Collection(Base):
    """A named set of documents of one owner; the scope of a search."""

    __tablename__ = "collections"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey(ApiKey.id, ondelete="RESTRICT"))
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (UniqueConstraint("owner_id", "name"),)


class Document(Base):
    """An uploaded file, known by its name within a collection.

    Every upload is given the next number, `latest_generation`, and writes its chunks under it. The number of
    the generation that searches see is `generation`: it moves in one transaction together with the hash,
    only ever upwards, and is null until a first upload has been ingested. `settled` is the number of the
    newest upload that was ingested or found to change nothing; an older one that ends later has no say.
    """

    __tablename__ = "documents"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    collection_id: Mapped[UUID] = mapped_column(ForeignKey(Collection.id, ondelete="CASCADE"))
    name: Mapped[str]
    latest_generation: Mapped[int] = mapped_column(server_default=text("1"))
    settled: Mapped[int] = mapped_column(server_default=text("0"))
    latest_job_id: Mapped[UUID | None] = mapped_column(ForeignKey(Job.id, ondelete="SET NULL"), index=True)
    # All below describe the active generation.
    generation: Mapped[int | None]
    content_hash: Mapped[bytes | None]
    pipeline: Mapped[str | None]
    media_type: Mapped[str | None]
    title: Mapped[str | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    storage_key: Mapped[str | None]
    pages: Mapped[int | None]
    chunk_count: Mapped[int | None]
    ingested_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        UniqueConstraint("collection_id", "name"),
        CheckConstraint(
            "num_nulls(generation, content_hash, pipeline, chunk_count, ingested_at) IN (0, 5)",
            name="generation_whole",
        ),
    )


class Chunk(Base):
    """A piece of a document's text, as it is found by a search. Written once, never changed."""

    __tablename__ = "chunks"

    document_id: Mapped[UUID] = mapped_column(
        ForeignKey(Document.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    collection_id: Mapped[UUID] = mapped_column(ForeignKey(Collection.id, ondelete="CASCADE"))
    text: Mapped[str]
    page: Mapped[int | None]
    section: Mapped[str | None]
    embedding: Mapped[list[float]] = mapped_column(HALFVEC())
    # Headings count for more than body text (class A against D of ts_rank).
    tsv: Mapped[str] = mapped_column(
        TSVECTOR(),
        Computed(
            "setweight(to_tsvector('english', coalesce(section, '')), 'A') || to_tsvector('english', text)",
            persisted=True,
        ),
    )

    __table_args__ = (
        Index("chunks_tsv_idx", "tsv", postgresql_using="gin"),
        Index("chunks_collection_id_idx", "collection_id"),
    )


class CachedEmbedding(Base):
    """An embedding that was paid for, found again by model, dimensions and the SHA-256 of its text."""

    __tablename__ = "cached_embeddings"

    model: Mapped[str] = mapped_column(primary_key=True)
    dimensions: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text_hash: Mapped[bytes] = mapped_column(primary_key=True)
    embedding: Mapped[list[float]] = mapped_column(HALFVEC())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
