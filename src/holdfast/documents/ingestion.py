"""Ingesting a document: fetch, read, split, embed, write, and then show it, all at once.

    upload ──▶ chunks on disk ──▶ embeddings ──▶ rows of a new generation ──▶ active

A killed attempt leaves rows that nobody sees; the next one starts its generation afresh, and finds embeddings
that were paid for in the cache. Nothing of the old generation is touched before the new one is active.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel

from holdfast.ai import BadInput, Embedder, Vector
from holdfast.documents import generations, library
from holdfast.documents.embedding import CachingEmbedder
from holdfast.documents.generations import Facts
from holdfast.documents.library import Generation
from holdfast.documents.models import Document
from holdfast.documents.reading import Chunk, Part, ReadLimits, read_document, split
from holdfast.documents.reading import Document as OpenDocument
from holdfast.documents.scratch import scratch_folder
from holdfast.documents.spool import ChunkSpool
from holdfast.documents.storage import UploadStore
from holdfast.errors import DocumentError, JobCancelled, ProviderError, StorageUnavailable
from holdfast.jobs.context import JobContext
from holdfast.jobs.database import Database

log = logging.getLogger(__name__)

# Part of what says whether a document must be ingested anew; goes up when chunks would come out differently.
SPLITTING = 1
# Chunks that are embedded and written together: one request to a provider, one COPY.
BATCH = 128
REPORT_EVERY = 10


@dataclass(frozen=True)
class Uploaded:
    """What a job is told of the upload it ingests: where it lies, and where its chunks go."""

    generation: Generation
    storage_key: str
    sha256: bytes
    size: int


class IngestResult(BaseModel):
    """What became of an upload.

    Attributes:
        pages: of a PDF.
        chunks: how many of the document can be found now.
        unchanged: the document had this content already, and nothing was done twice.
        superseded: a newer upload was ingested first, and this one is not shown.
        embedding_model: what the vectors were made with.
        tokens: what the provider charged for this attempt.
    """

    document_id: UUID
    chunks: int
    pages: int | None
    unchanged: bool = False
    superseded: bool = False
    embedding_model: str
    tokens: int = 0


class Ingestion:
    """Ingests uploads with these means; `run` once for each job, and again after any kind of end."""

    def __init__(
        self, database: Database, storage: UploadStore, embedder: Embedder, limits: ReadLimits
    ) -> None:
        self._database = database
        self._storage = storage
        self._embedder = embedder
        self._limits = limits
        self._pipeline = pipeline_of(embedder)

    def run(self, job: JobContext, uploaded: Uploaded) -> IngestResult:
        """Ingest an upload.

        Raises:
            DocumentError: it cannot be ingested; stage and code say why.
            ProviderError, StorageUnavailable, Retry: it may go better later.
        """
        document = self._find(uploaded)
        number = uploaded.generation.number
        if document.generation == number:
            return self._tidy_again(job, uploaded, document)
        if document.settled > number:
            return self._superseded(uploaded)
        if document.settled == number or self._settles_unchanged(job, uploaded):
            return self._unchanged(uploaded)
        with self._leaving_nothing(job, uploaded):
            facts, tokens = self._make(job, uploaded, document)
            with job.transaction() as session:
                replaced = generations.activate(session, uploaded.generation, facts)
                if replaced is None:
                    generations.drop_chunks(session, uploaded.generation)
        if replaced is None:
            return self._superseded(uploaded, tokens)
        self._tidy(uploaded, [] if replaced.storage_key is None else [replaced.storage_key])
        return IngestResult(
            document_id=document.id,
            chunks=facts.chunk_count,
            pages=facts.pages,
            embedding_model=self._embedder.model,
            tokens=tokens,
        )

    def _make(self, job: JobContext, uploaded: Uploaded, document: Document) -> tuple[Facts, int]:
        """Write the upload's generation; returns its facts and what it cost in tokens."""
        with scratch_folder() as folder:
            upload, spool = folder / "upload", ChunkSpool(folder / "chunks")
            self._download(uploaded, upload)
            facts = self._read(job, uploaded, document.name, upload, spool)
            return facts, self._write(job, uploaded, document.collection_id, spool)

    def _find(self, uploaded: Uploaded) -> Document:
        with self._database.session() as session:
            document = generations.get_document(session, uploaded.generation.document_id)
        if document is None:
            self._discard(uploaded.storage_key)
            raise generations.deleted()
        return document

    def _settles_unchanged(self, job: JobContext, uploaded: Uploaded) -> bool:
        with job.transaction() as session:
            return generations.settle_unchanged(session, uploaded.generation, uploaded.sha256, self._pipeline)

    def _download(self, uploaded: Uploaded, path: Path) -> None:
        try:
            self._storage.download(uploaded.storage_key, path)
        except FileNotFoundError as error:
            self._find(uploaded)
            raise DocumentError("The upload is gone.", code="upload_missing", stage="store") from error

    def _read(self, job: JobContext, uploaded: Uploaded, name: str, path: Path, spool: ChunkSpool) -> Facts:
        job.progress(0, None, "reading")
        with read_document(path, name, self._limits) as document:
            spool.fill(split(_telling_pages(job, document)))
        if not spool.count:
            raise DocumentError("There is no text in the document.", code="no_text", stage="split")
        return Facts(
            content_hash=uploaded.sha256,
            pipeline=self._pipeline,
            media_type=document.media_type,
            title=document.title,
            size_bytes=uploaded.size,
            storage_key=uploaded.storage_key,
            pages=document.page_count,
            chunk_count=spool.count,
        )

    def _write(self, job: JobContext, uploaded: Uploaded, collection_id: UUID, spool: ChunkSpool) -> int:
        """Embed and write all chunks; returns what that cost in tokens."""
        embedder = CachingEmbedder(self._embedder, self._database)
        with job.transaction() as session:
            generations.drop_chunks(session, uploaded.generation)
        for batch in spool.batches(BATCH):
            pairs = list(zip(batch, _embed(embedder, batch), strict=True))
            with job.transaction() as session:
                generations.copy_chunks(session, uploaded.generation, collection_id, pairs)
            for chunk in batch[REPORT_EVERY - 1 :: REPORT_EVERY] + batch[-1:]:
                job.progress(chunk.index + 1, spool.count, "indexing")
        return embedder.tokens

    def _tidy(self, uploaded: Uploaded, replaced: Sequence[str]) -> None:
        """Remove what the new generation has replaced."""
        with self._database.transaction() as session:
            generations.drop_older(session, uploaded.generation)
        for key in replaced:
            self._discard(key)

    def _tidy_again(self, job: JobContext, uploaded: Uploaded, document: Document) -> IngestResult:
        """Do what an attempt left undone that died after it had made its generation active."""
        with self._database.session() as session:
            older = library.older_uploads(session, job.owner_id, uploaded.generation)
        # A job that was retried has an older generation, and the same upload.
        self._tidy(uploaded, [key for key in older if key != uploaded.storage_key])
        return self._result(document)

    def _unchanged(self, uploaded: Uploaded) -> IngestResult:
        self._discard(uploaded.storage_key)
        return self._result(self._find(uploaded)).model_copy(update={"unchanged": True})

    def _superseded(self, uploaded: Uploaded, tokens: int = 0) -> IngestResult:
        self._discard(uploaded.storage_key)
        return self._result(self._find(uploaded)).model_copy(update={"superseded": True, "tokens": tokens})

    def _result(self, document: Document) -> IngestResult:
        return IngestResult(
            document_id=document.id,
            chunks=document.chunk_count or 0,
            pages=document.pages,
            embedding_model=self._embedder.model,
        )

    @contextmanager
    def _leaving_nothing(self, job: JobContext, uploaded: Uploaded) -> Iterator[None]:
        """Take back the rows of an attempt that fails, and the upload when no other attempt will want it."""
        with ExitStack() as on_failure:
            on_failure.callback(self._drop_rows, job, uploaded)
            try:
                yield
            except (DocumentError, JobCancelled):
                on_failure.callback(self._discard, uploaded.storage_key)
                raise
            on_failure.pop_all()

    def _drop_rows(self, job: JobContext, uploaded: Uploaded) -> None:
        with job.transaction() as session:
            generations.drop_chunks(session, uploaded.generation)

    def _discard(self, key: str) -> None:
        try:
            self._storage.remove(key)
        except StorageUnavailable as error:
            # No reason to fail what has ended well; deleting the document will try again.
            log.warning("The upload %s is of no use any more, but was not removed: %s", key, error)


def pipeline_of(embedder: Embedder) -> str:
    """Names everything that shapes a document's chunks besides its content."""
    return f"split-{SPLITTING}/{embedder.model}/{embedder.dimensions}"


def _telling_pages(job: JobContext, document: OpenDocument) -> Iterator[Part]:
    page = None
    for part in document.parts:
        if part.page != page:
            page = part.page
            job.progress(0, None, f"reading page {page} of {document.page_count}")
        else:
            job.check_cancelled()
        yield part


def _embed(embedder: CachingEmbedder, batch: Sequence[Chunk]) -> list[Vector]:
    try:
        return embedder.embed([chunk.text for chunk in batch])
    except BadInput as error:
        # The document's fault, said in its terms: the position counts within the batch.
        chunk, reason = batch[error.position], error.message.partition(": ")[2] or error.message
        place = "" if chunk.page is None else f" on page {chunk.page}"
        message = f"The provider cannot embed chunk {chunk.index}{place}: {reason}"
        raise DocumentError(message, code=error.code, stage="embed") from error
    except ProviderError as error:
        error.stage = "embed"
        raise
