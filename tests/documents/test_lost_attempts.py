"""Workers that die or are taken for dead while they ingest: the right chunks once, paid for once."""

import os
import signal

import pytest

from factories import attempt_outcomes, claim_job, lose_worker
from holdfast.documents import generations
from holdfast.documents.generations import Facts
from holdfast.documents.library import Generation
from holdfast.documents.reading import Chunk
from holdfast.errors import StaleAttempt
from holdfast.jobs import leases
from holdfast.jobs.context import JobContext
from holdfast.jobs.running import RunningAttempt
from passages import passages
from waiting import wait_for

SEVERAL_BATCHES = passages(300)
BATCH = 128


@pytest.fixture
def start_ingesting_worker(start_worker, semantic_library, provider):
    """Start real workers that run the backend as the library's settings have it."""

    def start(**variables):
        return start_worker(
            app="holdfast.server",
            concurrency=1,
            OPENAI_BASE_URL=provider.base_url,
            OPENAI_API_KEY=provider.api_key,
            HOLDFAST_EMBEDDING_DIMENSIONS=str(provider.dimensions),
            HOLDFAST_STORAGE_URL=semantic_library.folder.as_uri(),
            **variables,
        )

    return start


def hang_in_second_batch(library, provider, in_background):
    """Queue a document for the workers that run, and wait until one of them waits for its second batch."""
    provider.answer_next("shuffled")
    provider.answer_next("hang")
    upload = library.upload(SEVERAL_BATCHES)
    in_background.wait_for_call(provider, calls=2)
    return upload


def await_completion(library, upload):
    return wait_for(
        lambda: (job := library.job(upload))["status"] == "completed" and job, "the completion", 60
    )


def check_ingested_once(library, provider, upload, finish=await_completion):
    """The chunks are exactly those of an undisturbed run, and only the batch in flight was paid for twice."""
    chunks = library.chunks(upload)
    undisturbed = library.upload(SEVERAL_BATCHES, "undisturbed.txt")
    finish(library, undisturbed)
    assert chunks == library.chunks(undisturbed)
    times = [provider.ledger.times_embedded(text) for text in chunks]
    assert times[:BATCH] == [1] * BATCH
    assert max(times) <= 2
    assert provider.counters()["repeated_inputs"] <= BATCH


def test_document_of_a_killed_worker_is_finished_by_another(
    start_ingesting_worker, semantic_library, provider, in_background, session
):
    worker = start_ingesting_worker()
    upload = hang_in_second_batch(semantic_library, provider, in_background)
    assert len(semantic_library.chunks(upload)) == BATCH
    assert semantic_library.search("harbour").hits == []
    worker.kill()
    provider.release()
    start_ingesting_worker()

    job = await_completion(semantic_library, upload)
    assert (job["attempt"], job["crashes"]) == (2, 1)
    assert attempt_outcomes(session, upload.job_id) == ["lost", "completed"]
    assert job["result"]["chunks"] == len(semantic_library.chunks(upload))
    check_ingested_once(semantic_library, provider, upload)


def test_document_of_a_killed_child_is_finished_by_its_successor(
    start_ingesting_worker, semantic_library, provider, in_background, session
):
    worker = start_ingesting_worker(HOLDFAST_LEASE_SECONDS="600")
    upload = hang_in_second_batch(semantic_library, provider, in_background)
    for child in worker.children():
        os.kill(child, signal.SIGKILL)

    assert await_completion(semantic_library, upload)["attempt"] == 2
    assert attempt_outcomes(session, upload.job_id) == ["lost", "completed"]
    provider.release()
    check_ingested_once(semantic_library, provider, upload)


def test_attempt_that_was_taken_for_dead_changes_nothing(semantic_library, provider, in_background, session):
    """It comes back when the next attempt has finished, and even its last batch is refused."""
    provider.answer_next("shuffled")
    provider.answer_next("hang")
    upload = semantic_library.upload(SEVERAL_BATCHES)
    with in_background(
        semantic_library.run, semantic_library.documents.ingest_document, upload.job_id
    ) as late:
        in_background.wait_for_call(provider, calls=2)
        take_back(session, upload)
        job = semantic_library.work(upload)
        provider.release()

    assert type(late.result()).__name__ == "Abandon"
    assert (job["status"], job["attempt"]) == ("completed", 2)
    assert semantic_library.job(upload) == job
    check_ingested_once(semantic_library, provider, upload, finish=type(semantic_library).work)


def test_batch_of_a_stale_attempt_is_refused(library, session):
    upload = library.upload("Whales sing.")
    context, generation = claimed(library, session, upload)
    with context.transaction() as transaction:
        generations.copy_chunks(transaction, generation, collection_of(library, upload), [chunk(0)])
    take_back(session, upload)

    with pytest.raises(StaleAttempt), context.transaction() as transaction:
        generations.copy_chunks(transaction, generation, collection_of(library, upload), [chunk(1)])
    assert library.chunks(upload) == ["chunk 0"]
    assert context.cancelled

    library.work(upload)
    assert library.chunks(upload) == ["Whales sing."]


def test_stale_attempt_cannot_make_its_generation_active(library, session):
    upload = library.upload("Whales sing.")
    context, generation = claimed(library, session, upload)
    take_back(session, upload)

    with pytest.raises(StaleAttempt), context.transaction() as transaction:
        assert generations.activate(transaction, generation, facts(upload)) is not None
    assert library.row(upload).generation is None


def test_crash_between_activation_and_tidying_up_is_made_good(library, session):
    old, _ = library.ingest("Whales sing.")
    upload = library.upload("Parrots talk.")
    context, generation = claimed(library, session, upload)
    with context.transaction() as transaction:
        generations.copy_chunks(transaction, generation, collection_of(library, upload), [chunk(0)])
        generations.activate(transaction, generation, facts(upload))
    take_back(session, upload)
    assert library.blobs() == sorted([old.key, upload.key])
    assert library.chunks(upload) == ["Whales sing.", "chunk 0"]

    job = library.work(upload)
    assert (job["status"], job["attempt"], job["result"]["chunks"]) == ("completed", 2, 1)
    assert library.chunks(upload) == ["chunk 0"]
    assert library.blobs() == [upload.key]


def test_active_generation_is_not_dropped_by_who_cleans_up_after_it(library, session):
    """As when the connection breaks just after the commit that made it active."""
    upload, _ = library.ingest("Whales sing.")
    generations.drop_chunks(session, Generation(upload.document_id, 1))
    session.commit()

    assert library.chunks(upload) == ["Whales sing."]


def test_old_upload_that_cannot_be_removed_costs_the_new_version_nothing(library):
    old, _ = library.ingest("Whales sing.")
    path = library.folder / old.key
    path.unlink()
    path.mkdir()  # what is no file cannot be removed as one
    new, result = library.ingest("Parrots talk.")

    assert result["chunks"] == 1
    assert library.found("parrots") == ["notes.txt"]
    assert library.chunks(new) == ["Parrots talk."]
    assert library.call("delete", new.document_id) is True
    assert library.blobs() == []


def take_back(session, upload):
    """Rescue the upload's job, as a relay does when the lease has run out."""
    lose_worker(session, upload.job_id)
    assert leases.rescue_expired(session, limit=10) == [upload.job_id]
    session.commit()


def claimed(library, session, upload):
    """A first attempt that runs nothing: its context, and the generation it writes."""
    claim = claim_job(session, upload.job_id)
    context = JobContext(RunningAttempt(claim), library.holdfast.database)
    return context, Generation(upload.document_id, claim.args["generation"])


def collection_of(library, upload):
    return library.row(upload).collection_id


def chunk(index):
    vector = [1.0] + [0.0] * 383
    return Chunk(index, f"chunk {index}", None, None, 0), vector


def facts(upload):
    return Facts(b"hash", "pipeline", "text/plain", None, 1, upload.key, None, 1)
