"""An embedder for machines without a provider: feature hashing, offline and deterministic.

Weinberger et al., "Feature Hashing for Large Scale Multitask Learning" (2009): each feature adds its weight
to one slot, with a sign, and both come from a hash of the feature. The features are the lower-cased words
and the pairs of neighbouring words, weighted by the square root of their count.
"""

import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

from holdfast.ai.embedder import EmbeddedBatch, Vector
from holdfast.ai.packing import Limits, Span, measure, pack

# Long runs are cut, so that a line of base64 cannot fill the cache below.
_WORD = re.compile(r"\w{1,40}")
_MASK = 0xFFFFFFFF
_MULTIPLIER = 0x9E3779B1  # 2**32 over the golden ratio: spreads the first word's bits over the pair's hash
_SIGN = 0x80000000
_LIMITS = Limits(text_bytes=300_000)


class HashingEmbedder:
    """Vectors of words, not of meaning: "car" finds "car" and never "automobile".

    It keeps the whole path from upload to search working without a provider, and `is_semantic` says that
    search should rank lexically. The same text has the same vector on every machine and in every release;
    another formula would be another model name. Vectors have unit length.
    """

    model = "holdfast-hashing-v1"
    dimensions = 384
    is_semantic = False

    def embed(self, texts: Sequence[str], *, idempotency_key: str | None = None) -> Iterator[EmbeddedBatch]:  # noqa: ARG002
        """Embed `texts`, 128 to a batch; nothing is sent, so the key has no use here."""
        spans = pack(measure(texts, _LIMITS), _LIMITS)
        return (_batch(texts, span) for span in spans)

    def embed_async(
        self, texts: Sequence[str], *, idempotency_key: str | None = None
    ) -> AsyncIterator[EmbeddedBatch]:
        """Embed `texts` from an event loop, which stands still some 40 ms for each batch of 128."""
        batches = self.embed(texts, idempotency_key=idempotency_key)

        async def each() -> AsyncIterator[EmbeddedBatch]:
            for batch in batches:
                yield batch

        return each()

    async def embed_query(self, text: str) -> Vector:
        """Embed one search query."""
        measure([text], _LIMITS)
        return hash_vector(text)


def _batch(texts: Sequence[str], span: Span) -> EmbeddedBatch:
    vectors = [hash_vector(text) for text in texts[span.start : span.stop]]
    return EmbeddedBatch(span.start, vectors, prompt_tokens=0)


def hash_vector(text: str) -> Vector:
    """Return the 384 floats of `holdfast-hashing-v1` for `text`; their L2 norm is 1."""
    slots = [0.0] * HashingEmbedder.dimensions
    for feature, count in Counter(_features(text)).items():
        slot = feature % HashingEmbedder.dimensions
        weight = math.sqrt(count)
        slots[slot] += weight if feature & _SIGN else -weight
    norm = math.hypot(*slots)
    if norm < 1e-6:
        # No word at all ("---"), or signs that cancelled out. A zero vector has no cosine, and pgvector
        # leaves it out of the index: the chunk would be lost.
        slots[_hash(text) % HashingEmbedder.dimensions] = norm = 1.0
    return [value / norm for value in slots]


def _features(text: str) -> list[int]:
    words = [_hash_word(word) for word in _WORD.findall(text.lower())]
    pairs = [(first * _MULTIPLIER + second) & _MASK for first, second in pairwise(words)]
    return words + pairs


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")


# At most some 20 MB; the words that make up most of a text stay in.
_hash_word = lru_cache(maxsize=65_536)(_hash)
