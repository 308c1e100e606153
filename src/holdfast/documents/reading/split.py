"""Splitting a document's text into chunks for search."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from holdfast.documents.reading.cleaning import windows
from holdfast.documents.reading.parts import Part

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

MAX_CHUNK_CHARS: Final = 8_000
"""No chunk may be longer: at most 32 KB of UTF-8, far below the megabyte a `tsvector` may have."""

_WINDOW_CHARS = 32_768
_SMALL_WINDOW_CHARS = 4_096
_LONG_WORD_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class ChunkSize:
    """How long chunks are, in characters.

    A chunk is filled until it holds between `target` and `maximum`; one below `minimum` is joined to a
    neighbour where that fits. Raises `ValueError` unless 0 <= minimum <= target <= maximum <= 8,000.
    """

    minimum: int = 200
    target: int = 1_200
    maximum: int = 1_600

    def __post_init__(self) -> None:
        if not (0 <= self.minimum <= self.target <= self.maximum <= MAX_CHUNK_CHARS and self.target >= 1):
            raise ValueError(
                f"chunk sizes need 0 <= minimum <= target <= maximum <= {MAX_CHUNK_CHARS}, not {self}"
            )


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of text to be found: `index` counts from 0, `text` is stripped and never empty.

    `start` is the offset of the chunk's first character in the texts of all parts put end to end. `page` is
    the one page the chunk stands on; `section` is where it begins.
    """

    index: int
    text: str
    page: int | None
    section: str | None
    start: int


DEFAULT_SIZE: Final = ChunkSize()


def split(parts: Iterable[Part], size: ChunkSize = DEFAULT_SIZE) -> Iterator[Chunk]:
    """Split parts into chunks, lazily and the same way every time.

    No visible character is lost and the order is kept. A chunk stays on one page, because an answer cites
    the page. It stays in one section too, unless it would be shorter than `size.minimum` by itself: a heading
    with one line below is found better together with what follows.
    """
    index = 0
    group: _Group | None = None
    for piece in _pieces(parts, size):
        if group is not None and group.takes(piece, size):
            group.add(piece)
            continue
        if group is not None:
            yield group.chunk(index)
            index += 1
        group = _Group([piece])
    if group is not None:
        yield group.chunk(index)


@dataclass(frozen=True, slots=True)
class _Piece:
    part: Part
    start: int
    end: int
    offset: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(slots=True)
class _Group:
    """Neighbouring pieces that make one chunk."""

    pieces: list[_Piece]
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = sum(piece.length for piece in self.pieces)

    def takes(self, piece: _Piece, size: ChunkSize) -> bool:
        last = self.pieces[-1]
        if last.part.page != piece.part.page or self._length_with(piece) > size.maximum:
            return False
        same_section = last.part.section == piece.part.section
        return self.length < size.minimum or (same_section and piece.length < size.minimum)

    def add(self, piece: _Piece) -> None:
        self.length = self._length_with(piece)
        last = self.pieces[-1]
        if last.part is piece.part:
            # One slice, so that what stood between the two stays as it was.
            self.pieces[-1] = _Piece(last.part, last.start, piece.end, last.offset)
        else:
            self.pieces.append(piece)

    def chunk(self, index: int) -> Chunk:
        first = self.pieces[0]
        text = "\n\n".join(piece.part.text[piece.start : piece.end] for piece in self.pieces)
        return Chunk(index, text, first.part.page, first.part.section, first.offset)

    def _length_with(self, piece: _Piece) -> int:
        last = self.pieces[-1]
        between = piece.start - last.end if last.part is piece.part else 2
        return self.length + between + piece.length


def _pieces(parts: Iterable[Part], size: ChunkSize) -> Iterator[_Piece]:
    offset = 0
    for part in parts:
        splitter = _splitter(size.target, size.maximum, is_markdown=part.section is not None)
        begin = 0
        for window in _windows(part.text, size):
            for at, text in splitter.chunk_indices(window):
                if stripped := text.strip():
                    start = begin + at + text.index(stripped)
                    yield _Piece(part, start, start + len(stripped), offset + start)
            begin += len(window)
        offset += len(part.text)


def _windows(text: str, size: ChunkSize) -> Iterator[str]:
    """Cut long text before the splitter sees it, whose time grows with the square of a word's length."""
    for window in windows(text, _WINDOW_CHARS):
        if max(map(len, window.split()), default=0) > _LONG_WORD_CHARS:
            yield from windows(window, max(_SMALL_WINDOW_CHARS, 3 * size.maximum))
        else:
            yield window


@cache
def _splitter(target: int, maximum: int, *, is_markdown: bool) -> "TextSplitter | MarkdownSplitter":
    # Imported here: an API process that only sniffs types has no use for it.
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    return (MarkdownSplitter if is_markdown else TextSplitter)((target, maximum))
