"""What is shown of documents, collections and search results."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from holdfast.jobs.accepted import JobAccepted


@dataclass(frozen=True)
class AcceptedDocument:
    """An upload that will be ingested; `job` is the job that does it."""

    document_id: UUID
    job: JobAccepted


@dataclass(frozen=True)
class DocumentView:
    """A document: its searchable version, if there is one, and what became of its latest upload.

    Attributes:
        is_searchable: whether a version of it is found by searches.
        status: of the job of its latest upload; `None` once that job was deleted.
        error: why the latest upload failed, if it did.
    """

    id: UUID
    collection: str
    name: str
    is_searchable: bool
    job_id: UUID | None
    status: str | None
    error: dict[str, Any] | None
    media_type: str | None
    title: str | None
    size_bytes: int | None
    pages: int | None
    chunks: int | None
    created_at: datetime
    ingested_at: datetime | None


@dataclass(frozen=True)
class CollectionView:
    """A collection, with how many searchable documents and chunks it holds."""

    name: str
    documents: int
    chunks: int
    created_at: datetime


@dataclass(frozen=True)
class Hit:
    """A chunk found by a search. `score` orders the hits of one search and means nothing beyond it."""

    document_id: UUID
    document: str
    index: int
    text: str
    page: int | None
    section: str | None
    score: float


@dataclass(frozen=True)
class SearchResult:
    """The hits, best first, and how they were ranked."""

    mode: Literal["lexical", "hybrid"]
    hits: list[Hit]
