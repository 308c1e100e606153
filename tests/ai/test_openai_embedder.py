import asyncio
import math
from datetime import timedelta

import pytest

from holdfast.ai import (
    BadInput,
    Limits,
    MalformedReply,
    OpenAIEmbedder,
    ProviderAuthError,
    QuotaExhausted,
    UnknownModel,
    WrongDimensions,
)
from holdfast.errors import ConfigurationError, ProviderError
from simulated_provider import semantic_vector


def vectors_of(batches):
    return [vector for batch in batches for vector in batch.vectors]


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


async def gather_async(embedder, texts, **options):
    batches = [batch async for batch in embedder.embed_async(texts, **options)]
    await embedder.aclose()
    return batches


def test_vectors_come_back_in_the_order_of_the_texts(provider, embedder):
    provider.answer_next("shuffled")
    texts = [f"word{number}" for number in range(20)]
    vectors = vectors_of(embedder.embed(texts))
    for text, vector in zip(texts, vectors, strict=True):
        assert vector == pytest.approx(semantic_vector(text, 64), abs=1e-6)


def test_a_synonym_is_nearer_than_another_word(embedder):
    car, automobile, doctor = vectors_of(embedder.embed(["a car", "the automobiles", "a doctor"]))
    assert cosine(car, automobile) > 0.99 > cosine(car, doctor)


def test_batches_are_contiguous_and_carry_the_tokens_charged(provider, make_embedder):
    embedder = make_embedder(limits=Limits(inputs=3))
    batches = list(embedder.embed(["abcd"] * 7))
    assert [(batch.start, batch.stop, batch.prompt_tokens) for batch in batches] == [
        (0, 3, 3), (3, 6, 3), (6, 7, 1),
    ]  # fmt: skip


def test_nothing_is_requested_before_a_batch_is_asked_for(provider, make_embedder):
    batches = make_embedder(limits=Limits(inputs=1)).embed(["one", "two"])
    assert provider.counters()["calls"] == 0
    next(batches)
    assert provider.counters()["calls"] == 1


def test_sync_and_async_give_the_same_batches(provider, make_embedder):
    texts = [f"text {number}" for number in range(5)]
    in_sync = list(make_embedder(limits=Limits(inputs=2)).embed(texts))
    assert asyncio.run(gather_async(make_embedder(limits=Limits(inputs=2)), texts)) == in_sync


def test_many_async_calls_are_in_flight_at_once(provider, make_embedder):
    provider.delay_seconds = 0.05
    embedder = make_embedder()

    async def ask_twenty():
        vectors = await asyncio.gather(*(embedder.embed_query(f"query {n}") for n in range(20)))
        await embedder.aclose()
        return vectors

    assert len(asyncio.run(ask_twenty())) == 20
    assert provider.counters()["most_running"] > 10


def test_async_calls_beyond_the_connections_wait_their_turn(provider, make_embedder):
    embedder = make_embedder(max_connections=2)

    async def ask_ten():
        vectors = await asyncio.gather(*(embedder.embed_query(f"query {n}") for n in range(10)))
        await embedder.aclose()
        return vectors

    assert len(asyncio.run(ask_ten())) == 10
    assert provider.counters()["most_running"] <= 2


def test_nobody_waits_for_ever_behind_calls_that_hang(provider, make_embedder):
    provider.answer_next("hang", times=3)
    embedder = make_embedder(max_connections=1, timeout=timedelta(seconds=0.2))

    async def ask_three():
        calls = (embedder.embed_query(f"query {n}") for n in range(3))
        return await asyncio.gather(*calls, return_exceptions=True)

    errors = asyncio.run(ask_three())
    assert all(isinstance(error, ProviderError) and error.retryable for error in errors)


@pytest.mark.parametrize("encoding_format", ["base64", "float"])
def test_both_encodings_give_the_same_vectors(make_embedder, encoding_format):
    [vector] = vectors_of(make_embedder(encoding_format=encoding_format).embed(["sea anchor"]))
    assert vector == pytest.approx(semantic_vector("sea anchor", 64), abs=1e-6)


def test_dimensions_are_sent_only_when_asked_for(provider, make_embedder):
    [vector] = vectors_of(make_embedder(dimensions=16, send_dimensions=True).embed(["kelp"]))
    assert len(vector) == 16
    with pytest.raises(WrongDimensions, match="64 dimensions, not 16") as caught:
        list(make_embedder(dimensions=16).embed(["kelp"]))
    assert not caught.value.retryable


def test_each_request_has_its_own_key_made_from_the_callers(provider, make_embedder):
    list(make_embedder(limits=Limits(inputs=2)).embed(["a1", "b2", "c3"], idempotency_key="job-7"))
    assert [call.idempotency_key for call in provider.ledger.received] == ["job-7-0-2", "job-7-2-3"]


def test_a_rate_limit_is_retryable_after_what_the_provider_says(provider, embedder):
    provider.answer_next("rate_limited", retry_after="7")
    with pytest.raises(ProviderError) as caught:
        list(embedder.embed(["kelp"]))
    error = caught.value
    assert (error.retryable, error.status, error.retry_after) == (True, 429, timedelta(seconds=7))


@pytest.mark.parametrize(
    ("answer", "expected", "retryable"),
    [
        ("server_error", ProviderError, True),
        ("unavailable", ProviderError, True),
        ("quota", QuotaExhausted, False),
        ("garbage", MalformedReply, True),
        ("too_few", MalformedReply, True),
        ("nulls", MalformedReply, True),
        ("zeros", MalformedReply, True),
        ("oversized", MalformedReply, True),
    ],
)
def test_a_failed_call_says_whether_it_may_be_repeated(provider, embedder, answer, expected, retryable):
    provider.answer_next(answer)
    with pytest.raises(expected) as caught:
        list(embedder.embed(["kelp", "reef"]))
    assert caught.value.retryable is retryable
    assert len(vectors_of(embedder.embed(["kelp", "reef"]))) == 2


def test_the_async_path_reports_the_same_failure(provider, embedder):
    provider.answer_next("unavailable", retry_after="3")
    with pytest.raises(ProviderError) as caught:
        asyncio.run(gather_async(embedder, ["kelp"]))
    assert caught.value.retry_after == timedelta(seconds=3)


def test_a_provider_that_hangs_times_out_and_may_be_tried_again(provider, make_embedder):
    provider.answer_next("hang")
    with pytest.raises(ProviderError, match="in time") as caught:
        list(make_embedder(timeout=timedelta(seconds=0.2)).embed(["kelp"]))
    assert caught.value.retryable


def test_an_unreachable_provider_may_be_tried_again(make_embedder):
    with pytest.raises(ProviderError, match="cannot be reached") as caught:
        list(make_embedder(base_url="http://127.0.0.1:1/v1").embed(["kelp"]))
    assert caught.value.retryable


def test_a_wrong_key_is_final_and_is_not_repeated_in_the_message(make_embedder):
    with pytest.raises(ProviderAuthError) as caught:
        list(make_embedder(api_key="sk-very-secret").embed(["kelp"]))
    assert caught.value.code == "provider_auth"
    assert not caught.value.retryable
    assert "sk-very-secret" not in str(caught.value)


def test_an_unknown_model_is_final(make_embedder):
    with pytest.raises(UnknownModel, match="does not exist"):
        list(make_embedder(model="no-such-model").embed(["kelp"]))


@pytest.mark.parametrize("position", [0, 1, 77, 127])
def test_a_refused_batch_is_halved_until_the_bad_text_is_named(provider, embedder, position):
    provider.poison = "POISON"
    texts = [f"text number {number}" for number in range(128)]
    texts[position] = "a long text with POISON in it"
    got = []
    with pytest.raises(BadInput) as caught:
        got.extend(batch for batch in embedder.embed(texts))
    assert (caught.value.position, caught.value.status) == (position, 400)
    assert texts[position] not in str(caught.value)
    assert provider.counters()["repeated_inputs"] == 0
    assert provider.counters()["calls"] <= 16


def test_batches_before_the_bad_text_are_handed_over(provider, embedder):
    provider.poison = "POISON"
    batches = embedder.embed(["one", "two", "three", "POISON"])
    assert next(batches).stop == 2
    assert next(batches).stop == 3
    with pytest.raises(BadInput):
        next(batches)


def test_a_batch_that_is_too_large_for_the_provider_succeeds_in_parts(provider, embedder):
    provider.max_inputs = 32
    assert len(vectors_of(embedder.embed([f"text {number}" for number in range(100)]))) == 100


def test_no_text_is_blamed_when_the_provider_refuses_every_request(provider, embedder):
    provider.answer_next("refused", times=2)
    with pytest.raises(ProviderError, match="specifying dimensions") as caught:
        list(embedder.embed(["kelp", "reef"]))
    assert not isinstance(caught.value, BadInput)
    assert not caught.value.retryable
    assert provider.counters()["calls"] == 2


def test_a_text_that_cannot_be_sent_is_named_before_anything_is_paid(provider, embedder):
    with pytest.raises(BadInput) as caught:
        embedder.embed(["kelp", " \n"])
    assert caught.value.position == 1
    assert provider.counters()["calls"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "not a url"},
        {"base_url": "ftp://example.org"},
        {"base_url": "https://user:secret@example.org/v1"},
        {"api_key": "secret\n"},
        {"api_key": ""},
        {"dimensions": 0},
        {"dimensions": 4001},
        {"model": ""},
    ],
)
def test_a_setting_that_cannot_work_is_refused_without_repeating_secrets(changes):
    settings = {"base_url": "https://example.org/v1", "model": "m", "dimensions": 8}
    with pytest.raises(ConfigurationError) as caught:
        OpenAIEmbedder(**(settings | changes))
    assert "secret" not in str(caught.value)
