"""Deleting leaves nothing, at whatever moment it comes; and nobody sees what is another's."""

from uuid import uuid4

import pytest
from sqlalchemy import func, select

from holdfast.documents.models import Chunk, Collection, Document
from passages import passages


def remains(library):
    """How many collections, documents and chunks there are, and which uploads."""
    with library.holdfast.database.session() as session:
        counts = [
            session.scalar(select(func.count()).select_from(table)) for table in (Collection, Document, Chunk)
        ]
    return counts, library.blobs()


def delete_document(library, upload):
    return library.call("delete", upload.document_id)


def delete_collection(library, upload):
    return library.call("delete_collection", "library")


DELETIONS = pytest.mark.parametrize(
    ("delete", "collections_left"), [(delete_document, 1), (delete_collection, 0)]
)


@DELETIONS
def test_deleting_an_ingested_document_leaves_nothing(library, delete, collections_left):
    upload, _ = library.ingest("Whales sing.")

    assert delete(library, upload) is True
    assert remains(library) == ([collections_left, 0, 0], [])
    assert library.view(upload) is None
    assert delete(library, upload) is False
    assert library.job(upload)["status"] == "completed"


@DELETIONS
def test_deleting_a_queued_document_cancels_its_jobs(library, delete, collections_left):
    first, second = library.upload("Whales sing."), library.upload("Parrots talk.")

    assert delete(library, first) is True
    assert [library.work(upload)["status"] for upload in (first, second)] == ["cancelled"] * 2
    assert remains(library) == ([collections_left, 0, 0], [])


@DELETIONS
def test_deleting_while_a_document_is_ingested_leaves_nothing(
    semantic_library, provider, in_background, delete, collections_left
):
    provider.answer_next("hang")
    upload = semantic_library.upload(passages(300))
    with in_background(semantic_library.work, upload) as work:
        in_background.wait_for_call(provider)
        assert delete(semantic_library, upload) is True
        provider.release()

    job = work.result()
    assert job["status"] in ("cancelled", "failed")
    assert job["status"] == "cancelled" or job["error"]["code"] == "document_deleted"
    assert job["attempt"] == 1
    assert remains(semantic_library) == ([collections_left, 0, 0], [])


def test_job_whose_document_is_gone_fails_once(library):
    """As when the deletion comes between the claim and the first look."""
    upload = library.upload("Whales sing.")
    library.execute("DELETE FROM holdfast.documents")
    job = library.work(upload)

    assert (job["status"], job["attempt"]) == ("failed", 1)
    assert (job["error"]["stage"], job["error"]["code"]) == ("write", "document_deleted")
    assert library.blobs() == []


def test_document_deleted_before_its_chunks_are_written_fails_once(semantic_library, provider, in_background):
    """COPY finds no document to belong to: that is the deletion's doing, not an error to try again."""
    provider.answer_next("hang")
    upload = semantic_library.upload("Whales sing.")
    with in_background(semantic_library.work, upload) as work:
        in_background.wait_for_call(provider)
        semantic_library.execute("DELETE FROM holdfast.documents")
        provider.release()

    assert work.result()["error"]["code"] == "document_deleted"
    assert (work.result()["status"], work.result()["attempt"]) == ("failed", 1)
    assert semantic_library.blobs() == []


def test_deleting_removes_the_uploads_of_failed_jobs_too(semantic_library, provider):
    semantic_library.ingest("Whales sing.")
    provider.answer_next("quota", times=2)
    failed = [semantic_library.upload(text) for text in ("Parrots talk.", "Cats purr.")]
    assert [semantic_library.work(upload)["status"] for upload in failed] == ["failed"] * 2

    delete_document(semantic_library, failed[0])
    assert remains(semantic_library) == ([1, 0, 0], [])


def test_deleting_one_document_leaves_the_others(library):
    gone, _ = library.ingest("Whales sing.", "a.txt")
    kept, _ = library.ingest("Whales dive.", "b.txt")
    delete_document(library, gone)

    assert library.found("whales") == ["b.txt"]
    assert library.blobs() == [kept.key]


def test_name_can_be_used_again_after_deletion(library):
    first, _ = library.ingest("Whales sing.")
    delete_document(library, first)
    second, result = library.ingest("Whales sing.")

    assert second.document_id != first.document_id
    assert (result["unchanged"], result["chunks"]) == (False, 1)


STRANGE = {
    "list": ({}, []),
    "collections": ({}, []),
    "search": ({"query": "whales", "collection": "library", "limit": 5}, None),
    "delete_collection": ({"name": "library"}, False),
}


@pytest.mark.parametrize(("method", "given", "nothing"), [(name, *rest) for name, rest in STRANGE.items()])
def test_stranger_sees_and_changes_nothing(library, stranger, method, given, nothing):
    upload, _ = library.ingest("Whales sing.")

    assert stranger.call(method, **given) == nothing
    assert stranger.call("get", upload.document_id) is None
    assert stranger.call("delete", upload.document_id) is False
    assert library.found("whales") == ["notes.txt"]
    assert library.blobs() == [upload.key]


def test_owners_may_use_the_same_names(library, stranger):
    mine, _ = library.ingest("Whales sing.")
    theirs, _ = stranger.ingest("Whales dive.")

    assert mine.document_id != theirs.document_id
    assert [hit.text for hit in library.search("whales").hits] == ["Whales sing."]
    assert [hit.text for hit in stranger.search("whales").hits] == ["Whales dive."]
    stranger.call("delete_collection", "library")
    assert library.found("whales") == ["notes.txt"]


def test_unknown_documents_and_collections_are_answered_with_nothing(library):
    assert library.call("get", uuid4()) is None
    assert library.call("delete", uuid4()) is False
    assert library.call("delete_collection", "nowhere") is False
    assert library.search("whales", collection="nowhere") is None


def test_documents_are_listed_newest_first_in_pages(library):
    names = [f"{number}.txt" for number in range(5)]
    for name in names:
        library.upload("Whales sing.", name)
    library.upload("Whales sing.", "elsewhere.txt", "other")

    first = library.call("list", collection="library", limit=3)
    second = library.call("list", collection="library", limit=3, before=first[-1].id)
    assert [view.name for view in (*first, *second)] == names[::-1]
    assert [view.status for view in first] == ["queued"] * 3


def test_collections_count_what_can_be_searched(library):
    library.ingest("Whales sing.", "a.txt")
    library.upload("Parrots talk.", "b.txt")
    library.work(library.upload("", "c.txt", "broken"))

    counted = {view.name: (view.documents, view.chunks) for view in library.call("collections")}
    assert counted == {"broken": (0, 0), "library": (1, 1)}
