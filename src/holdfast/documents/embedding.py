"""Embedding chunks, and paying for each text once."""

import hashlib
from collections.abc import Iterator, Sequence

from pgvector import HalfVector
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from holdfast.ai import BadInput, Embedder, Vector
from holdfast.documents.models import CachedEmbedding
from holdfast.jobs.database import Database


class CachingEmbedder:
    """Embeds through a provider, and keeps what was paid for by model, dimensions and text.

    An embedder that costs nothing is asked every time. What a provider returned is saved at once, in a
    transaction of its own: a job that is killed, retried or superseded afterwards finds it again. What is on
    its way is known to nobody else: a text is paid for twice if a process dies between the provider's answer
    and that write, or when two jobs meet it for the first time at the same moment.

    Attributes:
        tokens: what the provider has charged so far.
    """

    def __init__(self, embedder: Embedder, database: Database) -> None:
        self._embedder = embedder
        self._database = database
        self.tokens = 0

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of `texts`, in their order.

        Raises:
            ProviderError: what was paid for before is kept. A `BadInput` tells the position in `texts`.
        """
        if not self._embedder.is_semantic:
            return self._fresh(texts)
        hashes = [hashlib.sha256(text.encode()).digest() for text in texts]
        known = self._load(hashes)
        missing = {key: text for key, text in zip(hashes, texts, strict=True) if key not in known}
        try:
            for keys, vectors in self._paid(missing):
                self._save(keys, vectors)
                known.update(zip(keys, vectors, strict=True))
        except BadInput as error:
            error.position = hashes.index(list(missing)[error.position])
            raise
        return [known[key] for key in hashes]

    def _fresh(self, texts: Sequence[str]) -> list[Vector]:
        return [vector for batch in self._embedder.embed(texts) for vector in batch.vectors]

    def _paid(self, missing: dict[bytes, str]) -> Iterator[tuple[Sequence[bytes], Sequence[Vector]]]:
        keys = list(missing)
        if not keys:
            return
        # The texts' own hash makes the provider's idempotency key the same whenever they are asked for again.
        name = hashlib.sha256(b"".join(keys)).hexdigest()
        for batch in self._embedder.embed(list(missing.values()), idempotency_key=name):
            self.tokens += batch.prompt_tokens or 0
            yield keys[batch.start : batch.stop], batch.vectors

    def _load(self, hashes: Sequence[bytes]) -> dict[bytes, Vector]:
        with self._database.session() as session:
            rows = session.execute(
                select(CachedEmbedding.text_hash, CachedEmbedding.embedding).where(
                    CachedEmbedding.model == self._embedder.model,
                    CachedEmbedding.dimensions == self._embedder.dimensions,
                    CachedEmbedding.text_hash.in_(hashes),
                )
            )
            return {key: _floats(vector) for key, vector in rows}

    def _save(self, keys: Sequence[bytes], vectors: Sequence[Vector]) -> None:
        rows = [
            {
                "model": self._embedder.model,
                "dimensions": self._embedder.dimensions,
                "text_hash": key,
                "embedding": vector,
            }
            # In one order everywhere: jobs that save some of the same texts would else wait crosswise.
            for key, vector in sorted(zip(keys, vectors, strict=True))
        ]
        with self._database.transaction() as session:
            session.execute(insert(CachedEmbedding).on_conflict_do_nothing(), rows)


def _floats(value: HalfVector | list[float]) -> Vector:
    return value.to_list() if isinstance(value, HalfVector) else value
