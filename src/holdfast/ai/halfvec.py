"""pgvector's `halfvec`, as COPY BINARY wants it."""

import struct

from holdfast.ai.embedder import Vector

MAX_DIMENSIONS = 4000
"""What an HNSW index over `halfvec` can hold (pgvector README, "HNSW")."""

MAX_HALF = 65504.0
"""The largest number in half precision (IEEE 754-2008, binary16)."""


def encode_halfvec(vector: Vector) -> bytes:
    """Return the binary form of a `halfvec`: 4 + 2 x dimensions bytes.

    The dimension count and a zero, both uint16, then the values as binary16, all big-endian: what
    `halfvec_recv` in pgvector's src/halfvec.c reads. psycopg writes `bytes` as they are, so in a
    `COPY ... (FORMAT BINARY)` the result is the field; a parameter of a query wants
    `pgvector.HalfVector`. It takes about as long as `HalfVector(...).to_binary()` without the object.

    Values lose precision beyond about three decimal digits. Raises OverflowError above `MAX_HALF`, which a
    vector that came from an `Embedder` cannot reach.
    """
    dimensions = len(vector)
    return struct.pack(f">HH{dimensions}e", dimensions, 0, *vector)
