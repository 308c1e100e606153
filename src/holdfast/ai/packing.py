"""Cutting a sequence of texts into requests that a provider accepts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from holdfast.ai.errors import BadInput
from holdfast.errors import ConfigurationError

MAX_INPUTS = 2048
"""Inputs that OpenAI takes in one request (API reference, "Create embeddings")."""

MAX_TOKENS = 300_000
"""Tokens that OpenAI takes in one request, summed over its inputs (same source)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may hold.

    Attributes:
        inputs: texts per request. Far below the provider's own limit, so that progress is visible and a
            failed request costs little.
        tokens: tokens per request, counted as UTF-8 bytes. A byte-level tokenizer never makes more tokens
            than bytes, so the provider's cap holds whatever the language.
        text_bytes: UTF-8 bytes of one text: 8,192 tokens at four bytes each. A text under it that the model
            still finds too long is refused by the provider, and reported as `BadInput` as well.
    """

    inputs: int = 128
    tokens: int = MAX_TOKENS
    text_bytes: int = 32_768

    def __post_init__(self) -> None:
        if not 1 <= self.inputs <= MAX_INPUTS:
            raise ConfigurationError(f"inputs per request must be 1 to {MAX_INPUTS}, not {self.inputs}")
        if not 1 <= self.text_bytes <= self.tokens:
            raise ConfigurationError(
                f"a text may have 1 to {self.tokens} bytes (the limit of a request), not {self.text_bytes}"
            )


@dataclass(frozen=True, slots=True)
class Span:
    """The texts from `start` up to but without `stop`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def halves(self) -> tuple["Span", "Span"]:
        """Two spans that make up this one, which must hold at least two texts."""
        middle = (self.start + self.stop) // 2
        return Span(self.start, middle), Span(middle, self.stop)


def measure(texts: Sequence[str], limits: Limits) -> list[int]:
    """Return the size of each text in UTF-8 bytes.

    Raises:
        BadInput: a text is blank, holds a lone surrogate, or is longer than `limits.text_bytes`.
    """
    return [_size(position, text, limits) for position, text in enumerate(texts)]


def _size(position: int, text: str, limits: Limits) -> int:
    if not text or text.isspace():
        raise BadInput(f"text {position} is blank; leave it out", position=position)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        # Without `from error`: that error carries the text.
        raise BadInput(
            f"text {position} is not valid Unicode at character {error.start}", position=position
        ) from None
    if size > limits.text_bytes:
        raise BadInput(
            f"text {position} has {size} bytes, more than {limits.text_bytes}; split it first",
            position=position,
        )
    return size


def pack(sizes: Sequence[int], limits: Limits) -> Iterator[Span]:
    """Yield spans over `sizes` in order, each as large as `limits` allows."""
    start, total = 0, 0
    for position, size in enumerate(sizes):
        if position > start and (position - start == limits.inputs or total + size > limits.tokens):
            yield Span(start, position)
            start, total = position, 0
        total += size
    if start < len(sizes):
        yield Span(start, len(sizes))
