"""What Celery does not ask of a Redis that is its broker: which messages wait, and whether it forgot them."""

from datetime import timedelta
from functools import lru_cache
from typing import Any, Self
from uuid import UUID

import orjson
from kombu.transport.redis import Channel, GlobalKeyPrefixMixin

from holdfast.jobs.delivery.waiting import Backlog


class RedisBroker:
    """A channel to Redis, asked past kombu.

    kombu 5.7 puts its key prefix before the keys of the commands that it uses itself, and of no others; so
    the keys of others have it already.
    """

    def __init__(self, channel: Any) -> None:  # noqa: ANN401 - kombu's channel
        self._channel = channel

    @classmethod
    def of(cls, channel: object) -> Self | None:
        """The broker behind a channel, if it is a Redis."""
        return cls(channel) if isinstance(channel, Channel) else None

    def backlog(self, queue: str) -> Backlog:
        """How many messages wait in the queue."""
        steps = self._channel.priority_steps
        with self._channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipeline:
            # kombu counts them so as well, so that its prefix is put before these keys.
            for step in steps:
                pipeline.llen(self._channel._q_for_pri(queue, step))  # noqa: SLF001 - nowhere else
            return Backlog(dict(zip(steps, pipeline.execute(), strict=True)))

    def waiting_jobs(self, queue: str) -> set[UUID]:
        """The jobs whose messages wait in the queue. It is read whole: about 700 bytes for each message."""
        lists = (self._ask("LRANGE", key, 0, -1) for key in self._keys(queue))
        return {UUID(orjson.loads(message)["headers"]["id"]) for messages in lists for message in messages}

    def reserve(self, what: str, pause: timedelta, *, renew: bool = False) -> bool:
        """Whether nobody has reserved this, or it is renewed; it then is, for such a pause."""
        expiry = ("PX", int(pause.total_seconds() * 1_000))
        condition = () if renew else ("NX",)
        return self._ask("SET", self._own(what), "", *expiry, *condition) is not None

    def keep(self, what: str) -> None:
        """Reserve this until Redis forgets it."""
        self._ask("SET", self._own(what), "")

    def _keys(self, queue: str) -> list[str]:
        channel = self._channel
        keys = (channel._q_for_pri(queue, step) for step in channel.priority_steps)  # noqa: SLF001 - as above
        return [f"{channel.global_keyprefix}{key}" for key in keys]

    def _own(self, what: str) -> str:
        return f"{self._channel.global_keyprefix}holdfast.{what}"

    def _ask(self, *command: object) -> Any:  # noqa: ANN401 - whatever Redis answers
        with self._channel.conn_or_acquire() as client:
            unprefixed: Any = super(GlobalKeyPrefixMixin, client) if _has_prefix(client) else client
            return unprefixed.execute_command(*command)


def keep_client(channel: object) -> None:
    """Have a channel to Redis, if it is one, make its clients once.

    kombu 5.7 makes a new one for each message that it takes, and for each that it acknowledges, which took a
    fifth of the CPU of a worker's main process.
    """
    if isinstance(channel, Channel):
        redis: Any = channel
        # By the pool of connections, of which a channel has two, and others after it has lost them.
        redis.Client = lru_cache(maxsize=2)(redis.Client)


def _has_prefix(client: object) -> bool:
    return isinstance(client, GlobalKeyPrefixMixin)
