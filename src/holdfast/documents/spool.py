"""Chunks on disk between splitting and embedding, so that their number is known and memory stays bounded."""

from collections.abc import Iterable, Iterator
from dataclasses import astuple
from itertools import islice
from pathlib import Path

import orjson

from holdfast.documents.reading import Chunk


class ChunkSpool:
    """A file of chunks, filled once and read in batches."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0

    def fill(self, chunks: Iterable[Chunk]) -> None:
        """Write the chunks as they come."""
        with self._path.open("wb") as file:
            for chunk in chunks:
                file.write(orjson.dumps(astuple(chunk)) + b"\n")
                self.count += 1

    def batches(self, size: int) -> Iterator[list[Chunk]]:
        """The chunks in order, `size` at a time."""
        with self._path.open("rb") as file:
            while lines := list(islice(file, size)):
                yield [Chunk(*orjson.loads(line)) for line in lines]
