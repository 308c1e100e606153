"""A document is uploaded again: nothing is done twice, and the last upload wins."""

from itertools import permutations

import pytest

from passages import passages


def test_same_bytes_are_not_ingested_twice(semantic_library, provider):
    first, before = semantic_library.ingest(passages(20))
    calls = provider.counters()["calls"]
    second, result = semantic_library.ingest(passages(20))

    assert second.document_id == first.document_id
    assert result == before | {"unchanged": True, "tokens": 0}
    assert provider.counters()["calls"] == calls
    assert semantic_library.blobs() == [first.key]
    assert len(semantic_library.chunks(first)) == before["chunks"]
    assert semantic_library.found("Passage 0-3") != []
    assert semantic_library.view(first).status == "completed"


def test_same_bytes_are_not_read_twice(library):
    library.ingest("Whales sing.")
    second = library.upload("Whales sing.")
    # Nothing to read: only the recorded hash can say that the upload is the same.
    (library.folder / second.key).unlink()

    assert library.work(second)["result"]["unchanged"] is True


def test_another_model_ingests_the_same_bytes_anew(make_semantic_library, provider):
    first, _ = make_semantic_library().ingest(passages(5))
    provider.models.add("better-model")
    library = make_semantic_library(model="better-model")
    second, result = library.ingest(passages(5))

    assert (result["unchanged"], result["embedding_model"]) == (False, "better-model")
    assert library.row(first).generation == 2
    assert len(library.chunks(second)) == result["chunks"]
    assert library.blobs() == [second.key]


def test_changed_document_pays_for_its_new_texts_only(semantic_library, provider):
    semantic_library.ingest(passages(60))
    paid = provider.counters()["inputs"]
    _, result = semantic_library.ingest(passages(60) + "\n\n" + passages(20, seed=1))

    new = provider.counters()["inputs"] - paid
    assert 0 < new < result["chunks"] / 2
    assert provider.counters()["repeated_inputs"] == 0


def test_new_version_replaces_the_whole_of_the_old_one(library):
    upload, _ = library.ingest("Whales sing.")
    library.ingest("Parrots talk.")

    assert library.found("whales") == []
    assert library.found("parrots") == ["notes.txt"]
    assert library.chunks(upload) == ["Parrots talk."]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_last_upload_wins_in_whatever_order_they_are_ingested(library, order):
    uploads = [library.upload(content) for content in ("Whales sing.", "Parrots talk.", "Whales sing.")]
    jobs = [library.work(uploads[index]) for index in order]

    assert [job["status"] for job in jobs] == ["completed"] * 3
    assert library.chunks(uploads[0]) == ["Whales sing."]
    assert library.search("whales").hits[0].text == "Whales sing."
    assert library.found("parrots") == []
    assert library.row(uploads[0]).settled == 3
    assert library.blobs() == [library.row(uploads[0]).storage_key]


def test_older_upload_is_reported_as_superseded(library):
    older, newer = library.upload("Whales sing."), library.upload("Parrots talk.")
    library.work(newer)
    result = library.work(older)["result"]

    assert (result["superseded"], result["unchanged"], result["chunks"]) == (True, False, 1)
    assert library.chunks(older) == ["Parrots talk."]


def test_upload_that_is_overtaken_while_it_is_embedded_shows_nothing(
    semantic_library, provider, in_background
):
    older, newer = semantic_library.upload("Whales sing."), semantic_library.upload("Parrots talk.")
    provider.answer_next("hang")
    with in_background(semantic_library.work, older) as overtaken:
        in_background.wait_for_call(provider)
        semantic_library.work(newer)
        provider.release()

    assert overtaken.result()["result"]["superseded"] is True
    assert semantic_library.chunks(older) == ["Parrots talk."]
    assert semantic_library.blobs() == [newer.key]


def test_two_uploads_at_once_leave_only_the_newer_ones_blob(semantic_library, provider, in_background):
    """The one that replaces another's upload removes that, not the one it knew of at its start."""
    semantic_library.ingest("Cats purr.")
    second, third = semantic_library.upload("Whales sing."), semantic_library.upload("Parrots talk.")
    provider.answer_next("hang")
    with in_background(semantic_library.work, third) as last:
        in_background.wait_for_call(provider, calls=2)
        semantic_library.work(second)
        assert semantic_library.chunks(second, generation=2) == ["Whales sing."]
        provider.release()

    assert last.result()["result"]["chunks"] == 1
    assert semantic_library.blobs() == [third.key]
    assert semantic_library.chunks(third) == ["Parrots talk."]
