"""API keys seen valid a moment ago, so that not every request has to ask the database."""

import hashlib
import time
from collections.abc import Callable
from typing import Final

from holdfast.jobs.keys import Owner

TTL_SECONDS: Final = 5.0
MAX_KEYS: Final = 1024


class KnownKeys:
    """Tokens and their owners, each believed for `ttl_seconds`; at most `size` of them.

    A revoked or expired key works for at most that much longer in a process that has just seen it. Tokens
    that are not valid are not kept: a new key works at once. What is kept is a hash.
    """

    def __init__(
        self,
        ttl_seconds: float = TTL_SECONDS,
        size: int = MAX_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl_seconds = ttl_seconds
        self._size = size
        self._clock = clock
        self._owners: dict[bytes, tuple[float, Owner]] = {}

    def find(self, token: str) -> Owner | None:
        """The owner of a token remembered as valid; `None`: ask the database."""
        known = self._owners.get(_digest(token))
        return known[1] if known is not None and self._clock() < known[0] else None

    def remember(self, token: str, owner: Owner) -> None:
        """Believe this token for a while; the one remembered longest ago makes room."""
        digest = _digest(token)
        self._owners.pop(digest, None)
        while len(self._owners) >= self._size:
            del self._owners[next(iter(self._owners))]
        self._owners[digest] = (self._clock() + self._ttl_seconds, owner)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
