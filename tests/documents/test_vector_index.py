"""Large collections get an index over their vectors, made by a job while everything goes on."""

from contextlib import contextmanager
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import event

from databases import conninfo
from holdfast.documents import vector_index
from passages import passages

MANY = 30


@pytest.fixture
def large(make_semantic_library):
    """A library whose collections are indexed from a few chunks on."""
    return make_semantic_library(index_above=MANY)


def index_jobs(library):
    return [job for job in library.jobs() if job["task"] == "index_vectors"]


def make_indexes(library):
    """Run the index jobs that are queued, and return the results of all."""
    for job in index_jobs(library):
        library.run(library.documents.index_vectors, job["id"])
    return [job["result"] for job in index_jobs(library)]


def indexes(library, database_url):
    """Which vector indexes there are, and whether each is valid."""
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        return dict(
            connection.execute(
                "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
                " WHERE relname LIKE 'chunks_vectors_%'"
            ).fetchall()
        )


def test_collection_that_grows_large_asks_for_an_index_once(large, database_url):
    large.ingest(passages(5), "a.txt")
    assert index_jobs(large) == []
    large.ingest(passages(100, seed=1), "b.txt")
    large.ingest(passages(10, seed=2), "c.txt")
    assert [job["status"] for job in index_jobs(large)] == ["queued"]

    (result,) = make_indexes(large)
    assert indexes(large, database_url) == {result["made"][0]: True}
    large.ingest(passages(10, seed=3), "d.txt")
    assert len(index_jobs(large)) == 1


def test_offline_vectors_are_never_indexed(make_library):
    library = make_library(index_above=0)
    library.ingest(passages(5))
    library.ingest(passages(6))

    assert index_jobs(library) == []


def test_search_through_the_index_finds_what_comparing_everything_finds(large, explained):
    large.ingest(passages(100), "a.txt")
    large.ingest("An automobile has four wheels.", "b.txt")
    queries = ["car", "harbour reef tide", "Passage 0-42"]
    exact = [large.search(query).hits for query in queries]
    make_indexes(large)
    with explained(large) as plans:
        through_index = [large.search(query).hits for query in queries]

    assert any("chunks_vectors_" in plan and "Order By" in plan for plan in plans)
    assert large.found("car")[0] == "b.txt"
    for before, after in zip(exact, through_index, strict=True):
        assert {hit.text for hit in before} == {hit.text for hit in after}
        assert [hit.score for hit in after] == sorted((hit.score for hit in after), reverse=True)


def test_index_shows_active_generations_only(large):
    upload, _ = large.ingest(passages(100), "a.txt")
    make_indexes(large)
    large.ingest(passages(100, seed=1), "a.txt")
    large.execute(
        "INSERT INTO holdfast.chunks (document_id, generation, index, collection_id, text, embedding)"
        " SELECT document_id, 9, index, collection_id, 'unseen', embedding FROM holdfast.chunks"
    )

    hits = large.search("harbour", limit=50).hits
    assert len(hits) == 50
    assert {hit.text for hit in hits} <= set(large.chunks(upload, generation=2))


def test_leftover_of_a_killed_build_is_replaced(large, database_url):
    large.ingest(passages(100))
    (name,) = make_indexes(large)[0]["made"]
    large.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = CAST(:name AS regclass)",
        name=qualified(name),
    )
    assert large.search("harbour").hits != []

    large.ingest(passages(5, seed=1), "b.txt")
    assert make_indexes(large)[1] == {"made": [name], "dropped": [name]}
    assert indexes(large, database_url) == {name: True}


def test_index_of_a_deleted_collection_is_dropped(large, database_url):
    large.ingest(passages(100))
    (name,) = make_indexes(large)[0]["made"]
    large.call("delete_collection", "library")

    assert make_indexes(large)[1] == {"made": [], "dropped": [name]}
    assert indexes(large, database_url) == {}


def test_second_builder_waits_for_its_turn(large, database_url):
    large.ingest(passages(100))
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [vector_index._LOCK])
        make_indexes(large)
        (job,) = index_jobs(large)
    assert (job["status"], job["error"]["code"]) == ("queued", "index_in_the_making")

    large.make_due(SimpleNamespace(job_id=job["id"]))
    make_indexes(large)
    assert list(indexes(large, database_url).values()) == [True]


def test_vectors_of_another_length_find_their_way_past_the_index(large, make_semantic_library, provider):
    large.ingest(passages(100))
    make_indexes(large)
    other = make_semantic_library(dimensions=32, send_dimensions=True)
    other.ingest("An automobile has four wheels.", "b.txt")

    assert other.found("car")[0] == "b.txt"
    assert "notes.txt" in other.found("harbour"), "by its words"


def qualified(name):
    return f"holdfast.{name}"


@pytest.fixture
def explained():
    """Collect the plans of all SELECTs from chunks that a library's searches run."""

    @contextmanager
    def explaining(library):
        plans = []
        engine = library.holdfast.database.async_engine.sync_engine

        def explain(connection, cursor, statement, parameters, context, many):
            if "FROM holdfast.chunks" in statement and not statement.startswith("EXPLAIN"):
                cursor.execute("EXPLAIN " + statement, parameters)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))

        event.listen(engine, "before_cursor_execute", explain)
        yield plans
        event.remove(engine, "before_cursor_execute", explain)

    return explaining
