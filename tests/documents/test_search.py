"""What a search finds, in which order, and what it makes of strange queries."""

import pytest

from holdfast.ai import HashingEmbedder
from holdfast.documents import search
from holdfast.documents.library import find_collection
from passages import passages

ANIMALS = {
    "both.txt": "The fox chases the hare over the meadow.",
    "fox.txt": "A fox sleeps.",
    "hare.txt": "One hare eats clover.",
    "neither.txt": "Whales sing.",
}


@pytest.fixture
def animals(library):
    for name, text in ANIMALS.items():
        library.ingest(text, name)
    return library


def test_chunks_with_every_word_come_before_those_with_any(animals):
    found = animals.found("fox hare")

    assert found[0] == "both.txt"
    assert sorted(found[1:]) == ["fox.txt", "hare.txt"]


def test_words_are_found_in_their_other_forms(animals):
    assert animals.found("sleeping foxes")[0] == "fox.txt"


def test_headings_count_for_more_than_text(library):
    library.ingest("# Harbours\n\nShips rest here for the night, and for some of the day.", "about.md")
    library.ingest("# Ships\n\nSome rest in harbours for the night, and some of the day.", "mentions.md")

    assert library.found("harbour") == ["about.md", "mentions.md"]


def test_scores_fall_from_hit_to_hit(animals):
    scores = [hit.score for hit in animals.search("fox hare").hits]

    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 1 > scores[1] > 0


def test_limit_is_kept_and_an_empty_collection_answers(animals):
    assert len(animals.search("fox hare", limit=2).hits) == 2
    assert len(animals.search("fox hare", limit=1).hits) == 1
    assert animals.search("unicorn").hits == []
    animals.upload("Not yet.", "queued.txt", "empty")
    assert animals.search("fox", collection="empty").hits == []


def test_search_says_how_it_ranked(animals, semantic_library):
    assert animals.search("fox").mode == "lexical"
    assert semantic_library.search("fox").mode == "hybrid"


HOSTILE = {
    "SQL": "' OR 1=1; DROP TABLE chunks; --",
    "unbalanced quotes": "\"fox 'hare",
    "query operators": "fox & | ! <-> (hare:* :A",
    "percent": "%s %(name)s fox %",
    "stop words": "the of and to",
    "blank": " \n\t ",
    "NUL": "fox\0hare",
    "only NUL": "\0",
    "half a surrogate pair": "fox \ud800",
    "long": "fox hare " * 555,
    "one long word": "x" * 5000,
    "emoji": "🦊🐇",
    "backslashes": "\\' fox \\",
    "address": "https://example.org/a?b=1&c=2 | fox",
}
WITHOUT_WORDS = {"stop words", "blank", "only NUL", "one long word", "emoji"}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_query_is_only_words(animals, kind):
    found = animals.found(HOSTILE[kind])

    assert "neither.txt" not in found
    assert bool(found) == (kind not in WITHOUT_WORDS | {"SQL"})
    assert animals.found("fox hare")[0] == "both.txt"


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_query_is_answered_with_a_provider_too(semantic_library, kind):
    semantic_library.ingest("A fox sleeps.")

    assert len(semantic_library.search(HOSTILE[kind]).hits) <= 1


def test_query_without_a_word_is_not_sent_to_the_provider(semantic_library, provider):
    semantic_library.ingest("A fox sleeps.")
    calls = provider.counters()["calls"]

    assert semantic_library.search(" \n ").hits == []
    assert provider.counters()["calls"] == calls


def test_meaning_finds_what_words_do_not(semantic_library, make_library):
    semantic_library.ingest("An automobile has four wheels.", "automobile.txt")
    semantic_library.ingest("Whales sing of the sea.", "whales.txt")

    assert semantic_library.found("car")[0] == "automobile.txt"
    assert make_library().search("car").hits == []


def test_rankings_are_fused_by_their_ranks(semantic_library):
    """A chunk that leads in both rankings counts 1 / (60 + 1) in each."""
    semantic_library.ingest("A car.", "car.txt")
    semantic_library.ingest("Whales sing.", "whales.txt")
    first, second = semantic_library.search("car").hits

    assert (first.document, second.document) == ("car.txt", "whales.txt")
    assert first.score == pytest.approx(1 / 61 + 1 / 61)
    assert second.score == pytest.approx(1 / 62)


def test_documents_of_another_model_are_found_by_their_words_only(make_library, semantic_library):
    make_library(HashingEmbedder).ingest("An automobile has four wheels.", "offline.txt")
    semantic_library.ingest("Whales sing.", "online.txt")

    assert semantic_library.found("car") == ["online.txt"]
    assert semantic_library.found("wheels")[0] == "offline.txt"


def test_old_version_is_found_whole_until_the_new_one_is_whole(semantic_library, provider, in_background):
    old, _ = semantic_library.ingest(passages(10) + "\n\nWhales sing.")
    texts = semantic_library.chunks(old)
    new = semantic_library.upload(passages(300, seed=1))
    provider.answer_next("shuffled")
    provider.answer_next("hang")
    with in_background(semantic_library.work, new) as work:
        # The second batch hangs, the first is written.
        in_background.wait_for_call(provider, calls=3)
        assert len(semantic_library.chunks(new, generation=2)) == 128
        seen = {hit.text for hit in semantic_library.search("passage whales", limit=50).hits}
        assert seen == set(texts)
        provider.release()

    assert work.result()["status"] == "completed"
    seen = {hit.text for hit in semantic_library.search("passage whales", limit=50).hits}
    assert seen
    assert not seen & set(texts)


def test_search_that_runs_across_a_switch_sees_one_version(library, holdfast):
    """Its second statement looks when the new version is there already."""

    library.ingest("fox hare\n\n" + "fox clover " * 200)
    with holdfast.database.session() as session:
        collection_id = find_collection(session, library.owner.id, "library")
        session.commit()
        search.begin(session)
        before = search.lexical(session, collection_id, "fox hare", limit=10).hits
        library.ingest("hare meadow")
        after = search.lexical(session, collection_id, "fox hare", limit=10).hits

    assert before == after
    assert [hit.text for hit in library.search("fox hare").hits] == ["hare meadow"]
