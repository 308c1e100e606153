"""What an embedder is: texts in, vectors out, batch by batch."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Vector: TypeAlias = list[float]
"""One embedding. A list, because `encode_halfvec` takes 18 µs for a list of 1,536 and 34 µs for an array."""


@dataclass(frozen=True, slots=True)
class EmbeddedBatch:
    """The vectors of `texts[start : start + len(vectors)]`, in that order.

    `prompt_tokens` is what the provider charged for this batch: 0 from an offline embedder, `None` when a
    provider does not say.
    """

    start: int
    vectors: list[Vector]
    prompt_tokens: int | None

    @property
    def stop(self) -> int:
        """The index after the batch's last text."""
        return self.start + len(self.vectors)


class Embedder(Protocol):
    """Turns texts into vectors of `dimensions` floats.

    Every vector has a length (L2 norm) between 0.001 and 65,504, so none is zero, infinite or NaN and each
    fits half precision; unit length is usual but not promised, so compare by cosine. Batches come in the
    order of the texts, without gaps, and each as soon as it is there: one may be stored while the next is
    fetched.

    All texts are checked before the first request: one that is blank, not valid Unicode or too long raises
    `BadInput` at the call, and nothing has been paid. Other failures are a `ProviderError` out of the
    iterator; the batches before it stay valid.
    """

    @property
    def model(self) -> str:
        """The model's name; together with `dimensions` it says which vectors may be compared."""

    @property
    def dimensions(self) -> int:
        """The number of floats in every vector."""

    @property
    def is_semantic(self) -> bool:
        """Whether near vectors mean near meanings; if not, search should rank lexically."""

    def embed(self, texts: Sequence[str], *, idempotency_key: str | None = None) -> Iterator[EmbeddedBatch]:
        """Embed `texts` from synchronous code.

        `idempotency_key` must name these texts; each request carries a key made from it.
        """

    def embed_async(
        self, texts: Sequence[str], *, idempotency_key: str | None = None
    ) -> AsyncIterator[EmbeddedBatch]:
        """Embed `texts` from an event loop; otherwise as `embed`."""

    async def embed_query(self, text: str) -> Vector:
        """Embed one search query. Whoever must record its tokens uses `embed_async([text])`."""
