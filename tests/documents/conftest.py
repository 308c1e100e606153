"""A document backend of the test's own: uploads go in, jobs run here, answers come out."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select, text

from factories import job_row, make_owner
from holdfast import Holdfast
from holdfast.ai import HashingEmbedder, OpenAIEmbedder
from holdfast.documents.backend import Documents
from holdfast.documents.models import Chunk
from holdfast.documents.models import Document as DocumentRow
from holdfast.documents.reading import ReadLimits
from holdfast.documents.storage import UploadStore
from holdfast.documents.vector_index import INDEX_ABOVE
from holdfast.jobs.keys import Owner
from holdfast.jobs.models import Job
from holdfast.jobs.workers import Worker
from simulated_provider import SimulatedProvider
from waiting import wait_for

WORKER = Worker("in-process", timedelta(minutes=1))
LIMITS = ReadLimits(cpu_seconds=30, wall_seconds=30, archive_bytes=16 << 20)


@dataclass
class Library:
    """An owner's documents, with the workers' side of them in this process."""

    holdfast: Holdfast
    documents: Documents
    owner: Owner
    folder: Path
    loop: asyncio.Runner = field(repr=False)

    def as_owner(self, owner):
        return Library(self.holdfast, self.documents, owner, self.folder, self.loop)

    def call(self, method, *args, **kwargs):
        """Call a method of `Documents` that takes a session and an owner, in a transaction of its own."""

        async def in_session():
            async with self.holdfast.database.async_session() as session:
                result = await getattr(self.documents, method)(session, self.owner, *args, **kwargs)
                await session.commit()
                return result

        return self.loop.run(in_session())

    def upload(self, content, name="notes.txt", collection="library"):
        """Store a file and queue its ingestion, as an API request does."""
        data = content if isinstance(content, bytes) else content.encode()

        async def pieces():
            yield data

        stored = self.loop.run(self.documents.storage.save(pieces()))
        accepted = self.call("accept", stored, name=name, collection=collection)
        return SimpleNamespace(document_id=accepted.document_id, job_id=accepted.job.job_id, key=stored.key)

    def run(self, task, job_id):
        """Do what a worker does with the job: claim it if it is due, run it, record the outcome."""
        return self.holdfast._parts.runner.run(task, job_id, WORKER)

    def work(self, upload):
        """Run the upload's job once, if it is due; returns the job's row."""
        self.run(self.documents.ingest_document, upload.job_id)
        return self.job(upload)

    def ingest(self, content, name="notes.txt", collection="library"):
        """Upload a file and run its job; returns the upload and the job's result."""
        upload = self.upload(content, name, collection)
        job = self.work(upload)
        assert job["status"] == "completed", job["error"]
        return upload, job["result"]

    def job(self, upload):
        with self.holdfast.database.session() as session:
            return job_row(session, upload.job_id)

    def jobs(self):
        """Every job's row, first to last."""
        with self.holdfast.database.session() as session:
            job_ids = session.scalars(select(Job.id).order_by(Job.id)).all()
            return [job_row(session, job_id) for job_id in job_ids]

    def make_due(self, upload):
        """Move the clock for a job that waits for its next attempt."""
        self.execute("UPDATE holdfast.jobs SET run_at = now() WHERE id = :id", id=upload.job_id)

    def execute(self, statement, **values):
        with self.holdfast.database.transaction() as session:
            session.execute(text(statement), values)

    def view(self, upload):
        return self.call("get", upload.document_id)

    def row(self, upload):
        with self.holdfast.database.session() as session:
            return session.get(DocumentRow, upload.document_id)

    def chunks(self, upload, generation=None):
        """The texts of all chunks of the document, in order, of one generation or of any."""
        query = select(Chunk.text).where(Chunk.document_id == upload.document_id)
        if generation is not None:
            query = query.where(Chunk.generation == generation)
        with self.holdfast.database.session() as session:
            return list(session.scalars(query.order_by(Chunk.generation, Chunk.index)))

    def search(self, query, collection="library", limit=10):
        return self.call("search", query=query, collection=collection, limit=limit)

    def found(self, query, **where):
        """The names of the documents found, best first."""
        return [hit.document for hit in self.search(query, **where).hits]

    def blobs(self):
        """The keys of all uploads that are stored."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def make_library(settings, loop, tmp_path):
    """Make libraries that share one database and one folder of uploads."""
    made = []
    folder = tmp_path / "uploads"
    owner = None

    def make(embedder=HashingEmbedder, limits=LIMITS, **options):
        nonlocal owner
        holdfast = Holdfast(settings)
        made.append(holdfast)
        if owner is None:
            with holdfast.database.session() as session:
                owner, _ = make_owner(session)
        storage = UploadStore(folder.as_uri())
        documents = Documents(holdfast, storage=storage, embedder=embedder, limits=limits, **options)
        return Library(holdfast, documents, owner, folder, loop)

    make.limits = lambda **changes: replace(LIMITS, **changes)
    yield make
    for holdfast in made:
        loop.run(holdfast.database.aclose())


@pytest.fixture
def library(make_library):
    """A library without a provider: searches are lexical."""
    return make_library()


@pytest.fixture(scope="module")
def running_provider():
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider):
    running_provider.reset()
    running_provider.models = {"text-embedding-3-small"}
    yield running_provider
    running_provider.release()


@pytest.fixture
def make_semantic_library(make_library, provider):
    """Make libraries that embed through the simulated provider."""

    def make(index_above=INDEX_ABOVE, **changes):
        settings = {
            "base_url": provider.base_url,
            "api_key": provider.api_key,
            "model": "text-embedding-3-small",
            "dimensions": provider.dimensions,
            "timeout": timedelta(seconds=20),
        }
        return make_library(lambda: OpenAIEmbedder(**(settings | changes)), index_above=index_above)

    return make


@pytest.fixture
def semantic_library(make_semantic_library):
    return make_semantic_library()


@pytest.fixture
def stranger(library):
    """Another owner with the same backend."""
    with library.holdfast.database.session() as session:
        owner, _ = make_owner(session, "stranger")
    return library.as_owner(owner)


class Background:
    """Runs something in a thread while the `with` block goes on, and waits for it at its end."""

    @contextmanager
    def __call__(self, function, *args):
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(function, *args)

    def wait_for_call(self, provider, calls=1):
        """Wait until the provider has been called so often, and the last call hangs."""
        wait_for(lambda: provider.ledger.calls >= calls and provider.ledger.running, "the call")


@pytest.fixture
def in_background():
    return Background()
