"""`Documents`: ingestion and search for one application, written with the engine's public face."""

import logging
from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from holdfast.ai import Embedder
from holdfast.app import Holdfast
from holdfast.documents import library, search, vector_index
from holdfast.documents.ingestion import Ingestion, IngestResult, Uploaded, pipeline_of
from holdfast.documents.library import Generation
from holdfast.documents.reading import ReadLimits
from holdfast.documents.storage import Upload, UploadStore
from holdfast.documents.vector_index import INDEX_ABOVE, INDEX_TASK, IndexResult
from holdfast.documents.views import AcceptedDocument, CollectionView, DocumentView, SearchResult
from holdfast.errors import StorageUnavailable
from holdfast.jobs.context import JobContext
from holdfast.jobs.keys import Owner
from holdfast.jobs.process import PerProcess
from holdfast.jobs.storable import storable_text

log = logging.getLogger(__name__)


class Documents:
    """An owner's documents: accepted, ingested by a job, listed, searched and deleted.

    Args:
        holdfast: where the tasks `ingest_document` and `index_vectors` are registered.
        storage: where uploads are kept.
        embedder: makes the embedder of a process when it is first needed.
        limits: what reading one document may cost.
        index_above: how many chunks a collection may have until its vectors are indexed.
    """

    def __init__(
        self,
        holdfast: Holdfast,
        *,
        storage: UploadStore,
        embedder: Callable[[], Embedder],
        limits: ReadLimits | None = None,
        index_above: int = INDEX_ABOVE,
    ) -> None:
        self.storage = storage
        self._database = holdfast.database
        self._index_above = index_above
        self._embedder = PerProcess(embedder)
        limits = limits or ReadLimits()
        self._ingestion = PerProcess(
            lambda: Ingestion(holdfast.database, storage, self._embedder.get(), limits)
        )
        register = holdfast.task(
            name=library.INGEST_TASK, retries=3, retry_delay=10, backoff="exponential", jitter=True
        )
        self.ingest_document = register(self._ingest_document)
        self.index_vectors = holdfast.task(name=INDEX_TASK, retries=30)(self._index_vectors)

    async def accept(
        self, session: AsyncSession, owner: Owner, upload: Upload, *, name: str, collection: str
    ) -> AcceptedDocument:
        """Record an upload and the job that ingests it, in the caller's transaction."""

        def add(session: Session) -> AcceptedDocument:
            generation = library.add_upload(session, owner.id, collection=collection, name=name)
            job = self.ingest_document.enqueue(
                session,
                owner=owner,
                document_id=generation.document_id,
                generation=generation.number,
                storage_key=upload.key,
                sha256=upload.sha256.hex(),
                size=upload.size,
            )
            library.set_latest_job(session, generation, job.job_id)
            return AcceptedDocument(generation.document_id, job)

        return await session.run_sync(add)

    async def list(
        self,
        session: AsyncSession,
        owner: Owner,
        *,
        collection: str | None = None,
        limit: int = 50,
        before: UUID | None = None,
    ) -> Sequence[DocumentView]:
        """The owner's documents, newest first; `before` continues after the document of that id."""
        return await session.run_sync(
            library.list_documents, owner.id, collection=collection, limit=limit, before=before
        )

    async def get(self, session: AsyncSession, owner: Owner, document_id: UUID) -> DocumentView | None:
        """The document, if it is the owner's."""
        return await session.run_sync(library.get_document, owner.id, document_id)

    async def collections(self, session: AsyncSession, owner: Owner) -> Sequence[CollectionView]:
        """The owner's collections, by name."""
        return await session.run_sync(library.list_collections, owner.id)

    async def delete(self, session: AsyncSession, owner: Owner, document_id: UUID) -> bool:
        """Delete a document with all that was made of it, and commit; `False` if the owner has none such."""
        keys = await session.run_sync(library.delete_documents, owner.id, document_id=document_id)
        await session.commit()
        await self._discard(keys or ())
        return keys is not None

    async def delete_collection(self, session: AsyncSession, owner: Owner, name: str) -> bool:
        """Delete a collection with its documents, and commit; `False` if the owner has none such."""
        keys = await session.run_sync(library.delete_documents, owner.id, collection=name)
        collection_id = await session.run_sync(library.find_collection, owner.id, name)
        if collection_id is not None:
            dimensions = self._embedder.get().dimensions
            if await session.run_sync(vector_index.is_usable, collection_id, dimensions):
                # The index is dropped by a job: that cannot be done in a transaction.
                await self.index_vectors.enqueue(session)
        is_deleted = await session.run_sync(library.delete_collection, owner.id, name)
        await session.commit()
        await self._discard(keys or ())
        return is_deleted

    async def search(
        self, session: AsyncSession, owner: Owner, *, query: str, collection: str, limit: int
    ) -> SearchResult | None:
        """Chunks of the owner's collection that answer the query best; `None`: there is no such collection.

        Commits the caller's transaction before it searches. A query without a word finds nothing.

        Raises:
            ProviderError: the query could not be embedded.
        """
        collection_id = await session.run_sync(library.find_collection, owner.id, collection)
        # No transaction stays open while the provider is asked, and the search sees one moment.
        await session.commit()
        if collection_id is None:
            return None
        embedder, query = self._embedder.get(), storable_text(query.replace("\0", " "))
        if not embedder.is_semantic or not query.strip():
            await session.run_sync(search.begin)
            return await session.run_sync(search.lexical, collection_id, query, limit=limit)
        vector = await embedder.embed_query(query)
        await session.run_sync(search.begin)
        return await session.run_sync(
            search.hybrid, collection_id, query, vector, pipeline_of(embedder), limit=limit
        )

    async def _discard(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                await self.storage.discard(key)
            except StorageUnavailable as error:
                # The document is gone all the same, and nothing can be done about it by asking again.
                log.warning("The upload %s of a deleted document was not removed: %s", key, error)

    def _ingest_document(
        self,
        job: JobContext,
        document_id: UUID,
        generation: int,
        storage_key: str,
        sha256: str,
        size: int,
    ) -> IngestResult:
        """Ingest an upload into its document's next generation."""
        uploaded = Uploaded(Generation(document_id, generation), storage_key, bytes.fromhex(sha256), size)
        result = self._ingestion.get().run(job, uploaded)
        self._index_if_large(document_id)
        return result

    def _index_if_large(self, document_id: UUID) -> None:
        embedder = self._embedder.get()
        if not embedder.is_semantic:
            return  # their vectors are never searched
        pipeline = pipeline_of(embedder)
        with self._database.transaction() as session:
            if vector_index.is_missing(
                session, document_id, pipeline, embedder.dimensions, above=self._index_above
            ):
                self.index_vectors.enqueue(session)

    def _index_vectors(self, _job: JobContext) -> IndexResult:
        """Make the vector indexes that large collections lack, and drop those nobody needs."""
        embedder = self._embedder.get()
        return vector_index.maintain(
            self._database.engine, pipeline_of(embedder), embedder.dimensions, above=self._index_above
        )
