"""Text files, as a stream: memory does not grow with the file, nor with its longest line."""

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from holdfast.documents.media_types import MediaType
from holdfast.documents.reading.cleaning import windows
from holdfast.documents.reading.encoding import text_encoding
from holdfast.documents.reading.markdown import markdown_parts
from holdfast.documents.reading.parts import PART_CHARS, Facts, Part


def read_text(path: Path) -> tuple[Facts, Iterator[Part]]:
    """Open a plain text file; parts are cut at blank lines or spaces. May raise code `encoding`."""
    return Facts(MediaType.TEXT), _stretches(path, text_encoding(path))


def read_markdown(path: Path) -> tuple[Facts, Iterator[Part]]:
    """Open a Markdown file; parts are its sections. May raise code `encoding`."""
    return Facts(MediaType.MARKDOWN), _sections(path, text_encoding(path))


def _stretches(path: Path, encoding: str) -> Iterator[Part]:
    with path.open(encoding=encoding, errors="replace") as file:
        rest = ""
        while block := _read(file):
            *full, rest = windows(rest + block, PART_CHARS)
            yield from map(Part, full)
        yield Part(rest)


def _read(file: TextIO) -> str:
    return file.read(PART_CHARS)


def _sections(path: Path, encoding: str) -> Iterator[Part]:
    with path.open(encoding=encoding, errors="replace") as file:
        yield from markdown_parts(file)
