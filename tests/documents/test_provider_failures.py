"""An AI provider that is slow, out of order or wrong: what is tried again, what is paid, what is said."""

from datetime import timedelta

import psycopg
import pytest

from databases import conninfo
from passages import passages

SEVERAL_BATCHES = passages(300)


def test_texts_are_embedded_in_batches_and_usage_is_counted(semantic_library, provider):
    _, result = semantic_library.ingest(SEVERAL_BATCHES)

    sizes = [len(received.texts) for received in provider.ledger.received]
    assert sum(sizes) == result["chunks"]
    assert len(sizes) > 1
    assert max(sizes) == 128
    assert result["tokens"] == provider.counters()["tokens"] > 0
    assert result["embedding_model"] == "text-embedding-3-small"
    assert provider.counters()["repeated_inputs"] == 0


def test_rate_limited_job_waits_as_long_as_the_provider_asks(semantic_library, provider):
    provider.answer_next("rate_limited", retry_after="7")
    upload = semantic_library.upload("Whales sing.")
    job = semantic_library.work(upload)

    assert (job["status"], job["attempt"], job["failures"]) == ("queued", 1, 1)
    assert (job["error"]["code"], job["error"]["stage"]) == ("provider_error", "embed")
    waits = job["run_at"] - job["started_at"]
    assert timedelta(seconds=7) <= waits < timedelta(seconds=17)
    assert semantic_library.chunks(upload) == []
    assert semantic_library.work(upload)["attempt"] == 1, "not before its time"

    semantic_library.make_due(upload)
    job = semantic_library.work(upload)
    assert (job["status"], job["attempt"], job["error"]) == ("completed", 2, None)
    assert semantic_library.chunks(upload) == ["Whales sing."]


@pytest.mark.parametrize("answer", ["server_error", "unavailable", "garbage", "too_few", "nulls", "zeros"])
def test_failure_that_may_pass_is_tried_again(semantic_library, provider, answer):
    provider.answer_next(answer)
    upload = semantic_library.upload("Whales sing.")

    assert semantic_library.work(upload)["status"] == "queued"
    semantic_library.make_due(upload)
    assert semantic_library.work(upload)["status"] == "completed"
    assert semantic_library.found("whales") == ["notes.txt"]


def test_batches_paid_before_a_failure_are_not_paid_again(semantic_library, provider):
    upload = semantic_library.upload(SEVERAL_BATCHES)
    provider.answer_next("shuffled")
    provider.answer_next("server_error")
    assert semantic_library.work(upload)["status"] == "queued"
    paid = provider.counters()["inputs"]
    assert paid == 128
    assert semantic_library.chunks(upload) == [], "an attempt that fails leaves no rows"

    semantic_library.make_due(upload)
    result = semantic_library.work(upload)["result"]
    assert provider.counters()["repeated_inputs"] == 0
    assert provider.counters()["inputs"] == result["chunks"]
    assert len(semantic_library.chunks(upload)) == result["chunks"]


def test_job_fails_when_its_attempts_are_used_up(semantic_library, provider):
    provider.answer_next("server_error", times=9)
    upload = semantic_library.upload("Whales sing.")
    for _ in range(4):
        job = semantic_library.work(upload)
        semantic_library.make_due(upload) if job["status"] == "queued" else None

    assert (job["status"], job["attempt"], job["error"]["stage"]) == ("failed", 4, "embed")
    assert provider.counters()["calls"] == 4
    assert semantic_library.view(upload).error == job["error"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"api_key": "sk-wrong"}, "provider_auth"),
        ({"model": "no-such-model"}, "provider_model"),
        ({"dimensions": 32}, "provider_dimensions"),
    ],
)
def test_failure_that_cannot_pass_fails_once(make_semantic_library, provider, changes, code):
    library = make_semantic_library(**changes)
    upload = library.upload("Whales sing.")
    job = library.work(upload)

    assert (job["status"], job["attempt"]) == ("failed", 1)
    assert (job["error"]["stage"], job["error"]["code"]) == ("embed", code)
    assert "sk-" not in job["error"]["message"].replace("sk-simulated", "")
    assert library.view(upload).error == job["error"]


def test_refused_chunk_is_named_by_its_index_in_the_document(semantic_library, provider):
    """Also when the chunks around it are known already, and so are not asked for."""
    text = passages(200)
    semantic_library.ingest(passages(150), "beginning.txt")
    provider.poison = "Passage 0-180."
    upload = semantic_library.upload(text)
    job = semantic_library.work(upload)

    provider.poison = None
    whole, _ = semantic_library.ingest(text, "whole.txt")
    index = next(i for i, text in enumerate(semantic_library.chunks(whole)) if "Passage 0-180." in text)
    assert (job["status"], job["attempt"]) == ("failed", 1)
    assert (job["error"]["stage"], job["error"]["code"]) == ("embed", "provider_bad_input")
    assert f"chunk {index}:" in job["error"]["message"]
    assert semantic_library.chunks(upload) == []


def test_earlier_version_stays_searchable_while_the_provider_fails(semantic_library, provider):
    upload, _ = semantic_library.ingest("Whales sing.")
    provider.answer_next("quota")
    assert semantic_library.work(semantic_library.upload("Parrots talk."))["status"] == "failed"

    assert semantic_library.chunks(upload) == ["Whales sing."]
    assert [hit.text for hit in semantic_library.search("whales").hits] == ["Whales sing."]


def test_provider_that_hangs_is_given_up(make_semantic_library, provider):
    library = make_semantic_library(timeout=timedelta(seconds=0.5))
    provider.answer_next("hang")
    upload = library.upload("Whales sing.")
    job = library.work(upload)

    assert job["status"] == "queued"
    assert "in time" in job["error"]["message"]
    provider.release()


def test_no_transaction_is_open_while_texts_are_embedded(
    semantic_library, provider, in_background, database_url
):
    provider.answer_next("hang")
    upload = semantic_library.upload("Whales sing.")
    with in_background(semantic_library.work, upload):
        in_background.wait_for_call(provider)
        assert transactions(database_url) == []
        provider.release()

    assert semantic_library.job(upload)["status"] == "completed"


def test_no_transaction_is_open_while_a_query_is_embedded(
    semantic_library, provider, in_background, database_url
):
    semantic_library.ingest("Whales sing.")
    provider.answer_next("hang")
    with in_background(semantic_library.search, "whales") as search:
        in_background.wait_for_call(provider, calls=2)
        assert transactions(database_url) == []
        provider.release()

    assert [hit.text for hit in search.result().hits] == ["Whales sing."]


def transactions(database_url):
    """The last statements of the transactions that are open in this database."""
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        rows = connection.execute(
            "SELECT query FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'idle in transaction'"
        )
        return [query for (query,) in rows]
