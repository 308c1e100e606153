"""The newest progress of running jobs, for readers that want it fresher than PostgreSQL has it.

One string key a job, `<prefix>progress:<job id>`, JSON, gone an hour after it was last written.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, cast
from uuid import UUID

import orjson
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

log = logging.getLogger(__name__)

EXPIRY_SECONDS = 3600
# Progress is not worth waiting for: what a reader misses here, PostgreSQL has a second later.
WRITE_TIMEOUT_SECONDS = 1.0
READ_TIMEOUT_SECONDS = 0.25
AWAY_SECONDS = 2.0


class ProgressWriter:
    """Writes progress; a Redis that is away is logged and otherwise passed over.

    One that failed is left alone for a while: a job that ends waits for the progress that is on its way.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=WRITE_TIMEOUT_SECONDS,
            socket_connect_timeout=WRITE_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._prefix = prefix
        self._away_until = 0.0

    def write(self, news: Mapping[UUID, dict[str, Any]]) -> bool:
        """Write the newest progress of each job; `False`: Redis is away."""
        if time.monotonic() < self._away_until:
            return False
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for job_id, progress in news.items():
                    # Not orjson, which refuses whole numbers of more than 64 bits.
                    pipeline.set(_key(self._prefix, job_id), json.dumps(progress), ex=EXPIRY_SECONDS)
                pipeline.execute()
        except redis.RedisError as error:
            log.debug("Progress of %d jobs was not shown: %s", len(news), error)
            self._away_until = time.monotonic() + AWAY_SECONDS
            return False
        return True


class ProgressReader:
    """Reads progress in async code; made and used on one event loop."""

    def __init__(self, url: Callable[[], str], prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._redis: redis.asyncio.Redis | None = None
        self._away_until = 0.0

    async def read(self, job_id: UUID) -> dict[str, Any] | None:
        """The newest progress; `None` if there is none, or Redis is away.

        A Redis that failed is left alone for a while: readers fall back to PostgreSQL, and wait for nothing.
        """
        if time.monotonic() < self._away_until:
            return None
        try:
            value = await self._client().get(_key(self._prefix, job_id))
        except redis.RedisError as error:
            log.debug("No live progress of job %s: %s", job_id, error)
            self._away_until = time.monotonic() + AWAY_SECONDS
            return None
        return None if value is None else cast("dict[str, Any]", orjson.loads(value))

    async def is_reachable(self) -> bool:
        """Whether Redis answers."""
        try:
            await self._client().ping()
        except redis.RedisError:
            return False
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    def _client(self) -> "redis.asyncio.Redis":
        if self._redis is None:
            self._redis = redis.asyncio.Redis.from_url(
                self._url(),
                socket_timeout=READ_TIMEOUT_SECONDS,
                socket_connect_timeout=READ_TIMEOUT_SECONDS,
            )
        return self._redis


def _key(prefix: str, job_id: UUID) -> str:
    return f"{prefix}progress:{job_id}"
