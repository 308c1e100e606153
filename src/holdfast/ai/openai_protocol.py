"""An embedding call to an OpenAI-compatible provider as a conversation, without any I/O.

`Exchange` says what to send next and is told what came back; whoever holds a connection, blocking or not,
carries the bytes. A batch that the provider refuses with a 400 is halved until the refused text stands alone
(and a batch that was only too large succeeds in parts):

    [0 ............ 127]  400
    [0 ... 63] 200   [64 ... 127] 400
                     [64 ... 95] 400  → ... → [70] 400: BadInput(position=70)

Before the halving, a harmless probe goes alone. If that is refused too, the fault lies with the request and
not with a text, and no text is blamed for, say, a `dimensions` that the model does not know.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from holdfast.ai.embedder import EmbeddedBatch
from holdfast.ai.errors import BadInput, MalformedReply
from holdfast.ai.packing import Limits, Span, measure, pack
from holdfast.ai.replies import INPUT_REFUSED, Reply, error_from, excerpt, read_vectors

PROBE = "probe"
"""The text that any model can embed."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What every request to one provider has in common.

    Attributes:
        model: the provider's name for the model.
        dimensions: floats that a vector must have.
        send_dimensions: whether to ask for that many; models that cannot shorten vectors refuse the question.
        encoding_format: `base64` is a quarter of the bytes and of the parsing time of `float`, and what
            OpenAI's own client asks for. A reply may use either, whatever was asked.
        api_key: known here only to keep it out of messages.
        limits: how much one request may hold.
    """

    model: str
    dimensions: int
    send_dimensions: bool
    encoding_format: Literal["base64", "float"]
    api_key: str | None = field(repr=False)
    limits: Limits


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One POST to `/embeddings`. A reply longer than `max_reply_bytes` may be dropped as `MalformedReply`."""

    body: bytes
    idempotency_key: str | None
    max_reply_bytes: int


class Exchange:
    """One `embed` call. Ask `next_request`, send it, hand the reply to `receive`, until there is none.

    Raises:
        BadInput: at once, for a text that must not be sent.
    """

    def __init__(self, dialect: Dialect, texts: Sequence[str], idempotency_key: str | None) -> None:
        self._dialect = dialect
        self._texts = texts
        self._key = idempotency_key
        self._pending = deque(pack(measure(texts, dialect.limits), dialect.limits))
        self._doubted: Reply | None = None  # a refusal that waits for the probe's verdict
        self._provider_works = False

    def next_request(self) -> WireRequest | None:
        """Return what to send next, or `None` when every text has its vector."""
        if self._doubted is not None:
            return self._request([PROBE], "probe")
        if not self._pending:
            return None
        span = self._pending[0]
        return self._request(self._texts[span.start : span.stop], f"{span.start}-{span.stop}")

    def _request(self, texts: Sequence[str], part: str) -> WireRequest:
        dialect = self._dialect
        content: dict[str, Any] = {
            "model": dialect.model,
            "input": list(texts),
            "encoding_format": dialect.encoding_format,
        }
        if dialect.send_dimensions:
            content["dimensions"] = dialect.dimensions
        return WireRequest(
            body=orjson.dumps(content),
            # Halves are other requests than the whole: under the same key a provider would replay its 400.
            idempotency_key=f"{self._key}-{part}" if self._key is not None else None,
            # 64 bytes for each float: the longest JSON number, and room for indented output.
            max_reply_bytes=65_536 + len(texts) * dialect.dimensions * 64,
        )

    def receive(self, reply: Reply) -> EmbeddedBatch | None:
        """Take in the reply to the request last given out; return the batch it completes, if it does.

        Raises:
            ProviderError: the call is over; the batches returned so far stay valid.
        """
        span = self._pending[0]
        if reply.status in INPUT_REFUSED and self._doubted is None:
            self._refused(reply)
            return None
        if reply.status != 200:
            raise error_from(reply, self._secrets(span), datetime.now(UTC))
        self._provider_works = True
        if self._doubted is not None:
            refusal, self._doubted = self._doubted, None
            self._refused(refusal)
            return None
        vectors, tokens = read_vectors(reply, len(span), self._dialect.dimensions, self._secrets(span))
        self._pending.popleft()
        return EmbeddedBatch(span.start, vectors, tokens)

    def _refused(self, reply: Reply) -> None:
        if not self._provider_works:
            self._doubted = reply
            return
        span = self._pending.popleft()
        if len(span) == 1:
            said = excerpt(reply.body, self._secrets(span))
            raise BadInput(
                f"the provider refused text {span.start} ({reply.status}): {said}",
                position=span.start,
                status=reply.status,
            )
        self._pending.extendleft(reversed(span.halves()))

    def _secrets(self, span: Span) -> list[str]:
        texts = self._texts[span.start : span.stop]
        return [*([self._dialect.api_key] if self._dialect.api_key else []), *texts]


class ReplyBody:
    """Gathers a response's chunks up to a limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._body = bytearray()

    def add(self, chunk: bytes) -> None:
        """Append a chunk.

        Raises:
            MalformedReply: the body is longer than the limit.
        """
        if len(self._body) + len(chunk) > self._limit_bytes:
            raise MalformedReply(f"the reply is longer than {self._limit_bytes} bytes", retryable=True)
        self._body += chunk

    def finish(self) -> bytes:
        """Return what was gathered."""
        return bytes(self._body)
