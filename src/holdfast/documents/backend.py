"""`Documents`: ingestion and search for one application, written with the engine's public face."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from holdfast.ai import Embedder
from holdfast.app import Holdfast
from holdfast.documents import library, search, vector_index
from holdfast.documents.ingestion import Ingestion, IngestResult, Uploaded, pipeline_of
from holdfast.documents.library import Generation
from holdfast.documents.orphans import remove_orphans
from holdfast.documents.reading import ReadLimits
from holdfast.documents.storage import Upload, UploadStore
from holdfast.documents.vector_index import INDEX_ABOVE, INDEX_TASK, IndexResult
from holdfast.documents.views import AcceptedDocument, CollectionView, DocumentView, SearchResult
from holdfast.errors import NotRetryable, StorageUnavailable, UploadMissing
from holdfast.jobs import retrying
from holdfast.jobs.accepted import JobAccepted
from holdfast.jobs.context import JobContext
from holdfast.jobs.keys import Owner
from holdfast.jobs.models import Job
from holdfast.jobs.options import JobOptions
from holdfast.jobs.process import PerProcess
from holdfast.jobs.retrying import RetryRequest
from holdfast.jobs.storable import storable_text

log = logging.getLogger(__name__)

ORPHANS_TASK = "remove_orphaned_uploads"


class Documents:
    """An owner's documents: accepted, ingested by a job, listed, searched and deleted.

    Args:
        holdfast: where the tasks `ingest_document`, `index_vectors` and `remove_orphaned_uploads` are
            registered.
        storage: where uploads are kept.
        embedder: makes the embedder of a process when it is first needed.
        limits: what reading one document may cost.
        index_above: how many chunks a collection may have until its vectors are indexed.
        orphans_after: how old an upload that nobody needs is when it is removed; `None` keeps them all.
    """

    def __init__(
        self,
        holdfast: Holdfast,
        *,
        storage: UploadStore,
        embedder: Callable[[], Embedder],
        limits: ReadLimits | None = None,
        index_above: int = INDEX_ABOVE,
        orphans_after: timedelta | None = timedelta(days=1),
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
            name=library.INGEST_TASK,
            retries=3,
            retry_delay=10,
            backoff="exponential",
            jitter=True,
            cpu_bound=True,
        )
        self.ingest_document = register(self._ingest_document)
        self.index_vectors = holdfast.task(name=INDEX_TASK, retries=30)(self._index_vectors)
        if orphans_after is not None:
            self._orphans_after = orphans_after
            holdfast.task(name=ORPHANS_TASK, cron="47 3 * * *", priority=9)(self._remove_orphaned_uploads)

    async def accept(
        self,
        session: AsyncSession,
        owner: Owner,
        upload: Upload,
        *,
        name: str,
        collection: str,
        idempotency_key: str | None = None,
        notify: Mapping[str, JsonValue] | None = None,
    ) -> AcceptedDocument:
        """Record an upload and the job that ingests it, in the caller's transaction.

        The key stands for name, collection and content. If they were accepted with it before, that is what
        is returned, nothing is recorded, and this upload is of no use: `discard` it.

        Raises:
            IdempotencyConflict: the key stands for something else.
            InvalidArguments: `notify`, which tells of the job's end, names what cannot be told.
        """
        options = JobOptions(owner=owner, idempotency_key=idempotency_key, notify=notify)
        request: JsonValue = {"sha256": upload.sha256.hex(), "name": name, "collection": collection}

        def add(session: Session) -> AcceptedDocument:
            # With a savepoint, as only the job's insertion says whether the key is new.
            with session.begin_nested() if idempotency_key else nullcontext() as recording:
                generation = library.add_upload(session, owner.id, collection=collection, name=name)
                arguments = _arguments(generation, upload)
                new_job = self.ingest_document.new_job(arguments, options, request=request)
                job = self.ingest_document.submit(session, new_job)
                if job.created:
                    library.set_latest_job(session, generation, job.job_id)
                    return AcceptedDocument(generation.document_id, job)
                assert recording is not None  # noqa: S101 - there was a key
                recording.rollback()
            return AcceptedDocument(library.document_of(session, job.job_id), job)

        return await session.run_sync(add)

    async def retry(self, session: AsyncSession, dead: Job, asked: RetryRequest) -> JobAccepted:
        """Ingest the upload of a dead job again, as the document's newest generation.

        Commits the caller's transaction before it looks whether the upload is there.

        Raises:
            UploadMissing: the upload was removed, because it cannot be read or its document was deleted.
            NotRetryable: as `holdfast.jobs.retrying.retry`; or a newer upload of the document was accepted.
        """
        made = await session.run_sync(retrying.made_before, dead, asked)
        await session.commit()
        if made is not None:
            return made
        retrying.check_dead(dead)
        if not await self.storage.exists(dead.args["storage_key"]):
            raise UploadMissing

        def again(session: Session) -> JobAccepted:
            job = retrying.retry(session, self.ingest_document, dead, asked, renew=_next_generation)
            if job.created:
                library.set_latest_job(session, _generation(dead.args), job.job_id)
            return job

        return await session.run_sync(again)

    async def discard(self, upload: Upload) -> None:
        """Remove an upload that no document was made of."""
        await self._discard([upload.key])

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

    def _remove_orphaned_uploads(self, job: JobContext) -> int:
        """Remove uploads that nobody needs any more."""
        return remove_orphans(job, self._database, self.storage, age=self._orphans_after)

    def _index_vectors(self, _job: JobContext) -> IndexResult:
        """Make the vector indexes that large collections lack, and drop those nobody needs."""
        embedder = self._embedder.get()
        return vector_index.maintain(
            self._database.engine, pipeline_of(embedder), embedder.dimensions, above=self._index_above
        )


def _arguments(generation: Generation, upload: Upload) -> dict[str, Any]:
    return {
        "document_id": generation.document_id,
        "generation": generation.number,
        "storage_key": upload.key,
        "sha256": upload.sha256.hex(),
        "size": upload.size,
    }


def _generation(args: Mapping[str, Any]) -> Generation:
    return Generation(UUID(args["document_id"]), args["generation"])


def _next_generation(session: Session, args: Mapping[str, Any]) -> dict[str, Any]:
    # Two jobs never write one generation; and a retry of what was replaced would take the newer one's place.
    generation = library.renew_upload(session, _generation(args))
    if generation is None:
        raise NotRetryable("A newer upload of the document was accepted, or the document was deleted.")
    return {**args, "generation": generation.number}
