from datetime import UTC, datetime, timedelta

import orjson
import pytest

from holdfast.ai import MalformedReply, QuotaExhausted
from holdfast.ai.replies import Reply, error_from, excerpt, read_vectors, retry_after

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def reply_of(rows, **more):
    return Reply(200, {}, orjson.dumps({"data": rows, **more}))


def row(index, embedding):
    return {"index": index, "embedding": embedding}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Sun, 22 Nov 2026 15:00:30 GMT", "date": "Sun, 22 Nov 2026 15:00:10 GMT"}, 20),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "1e300"}, 86_400),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers, seconds):
    assert retry_after(headers, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "headers", [{}, {"retry-after": ""}, {"retry-after": "soon"}, {"retry-after": "nan"}]
)
def test_no_wait_is_made_up(headers):
    assert retry_after(headers, NOW) is None


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (408, True),
        (409, True),
        (429, True),
        (500, True),
        (502, True),
        (529, True),
        (301, False),
        (418, False),
    ],
)
def test_the_status_decides_whether_to_retry(status, retryable):
    error = error_from(Reply(status, {"retry-after": "2"}, b""), [], NOW)
    assert error.retryable is retryable
    assert error.retry_after == (timedelta(seconds=2) if retryable else None)


def test_payment_required_is_an_exhausted_quota():
    assert isinstance(error_from(Reply(402, {}, b"{}"), [], NOW), QuotaExhausted)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b'{"error": {"message": "overloaded"}}',
        b'{"data": null}',
        b'{"data": [null]}',
        b'{"data": [{"index": 0}]}',
        b'{"data": [{"index": [0], "embedding": [1]}]}',
        b'{"data": [{"index": 1, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": null}]}',
        b'{"data": [{"index": 0, "embedding": ["1"]}]}',
        b'{"data": [{"index": 0, "embedding": [1e308, 1e308]}]}',
        b'{"data": [{"index": 0, "embedding": [NaN]}]}',
        b'{"data": [{"index": 0, "embedding": "AAAAfw=="}]}',
        b'{"data": [{"index": 0, "embedding": "AACAfw=="}]}',
        b'{"data": [{"index": 0, "embedding": "not base64"}]}',
        b'{"data": [{"index": 0, "embedding": "AAA="}]}',
    ],
)
def test_a_reply_that_cannot_be_used_may_be_asked_for_again(body):
    with pytest.raises(MalformedReply) as caught:
        read_vectors(Reply(200, {}, body), 1, 1, [])
    assert caught.value.retryable


def test_two_embeddings_for_one_text_are_refused():
    with pytest.raises(MalformedReply, match="2 embeddings for 1"):
        read_vectors(reply_of([row(0, [1.0]), row(0, [2.0])]), 1, 1, [])


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 3, "total_tokens": 4}, 3),
        ({"total_tokens": 4}, 4),
        (None, None),
        ({}, None),
        (3, None),
    ],
)
def test_usage_may_be_missing(usage, tokens):
    assert read_vectors(reply_of([row(0, [1.0])], usage=usage), 1, 1, []) == ([[1.0]], tokens)


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps({"error": {"message": 'cannot embed: he said "café", twice'}}),
        b'{"detail": [{"input": "he said \\"caf\\u00e9\\", twice"}]}',
        'no JSON: he said "café", twice'.encode(),
    ],
)
def test_an_excerpt_holds_no_secret_however_it_is_escaped(body):
    said = excerpt(body, ['he said "café", twice'])
    assert "caf" not in said
    assert "[…]" in said


def test_an_excerpt_is_short():
    assert len(excerpt(b"x" * 1_000_000, [])) == 201
