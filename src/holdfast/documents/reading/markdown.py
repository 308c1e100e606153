"""Markdown cut at its headings.

Enough of CommonMark to know a heading from what looks like one: ATX and setext headings, fenced code and
front matter. The text itself stays as it is written.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from holdfast.documents.reading.cleaning import windows
from holdfast.documents.reading.headings import HeadingPath
from holdfast.documents.reading.parts import PART_CHARS, Part

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*\n?\Z")
_SETEXT = re.compile(r" {0,3}(={3,}|-{3,})[ \t]*\n?\Z")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)\n?\Z")
# What a setext underline cannot turn into a heading: blank lines, lists, quotes, tables, code, headings.
_NOT_A_TITLE = re.compile(r"\s*\Z| {4}|\t| {0,3}(?:[-*+>|#]|\d{1,9}[.)]\s)")
_FRONT_MATTER_END = re.compile(r"(?:---|\.\.\.)[ \t]*\n?\Z")


def markdown_parts(file: TextIO) -> Iterator[Part]:
    """Yield the sections of a Markdown text, each beginning with its heading, long ones in several parts.

    Reads line by line and holds one part at a time.
    """
    outline = _Outline()
    lines: list[str] = []
    held = 0
    # A line longer than a part arrives in pieces.
    while line := file.readline(PART_CHARS):
        title_chars = outline.follow(line)
        if title_chars is not None or held > PART_CHARS:
            *ended, rest = _cut("".join(lines), title_chars)
            yield from (Part(text, section=outline.ended) for text in ended)
            lines, held = [rest], len(rest)
        lines.append(line)
        held += len(line)
    yield Part("".join(lines), section=outline.headings.section)


def _cut(text: str, title_chars: int | None) -> list[str]:
    """Return what can be handed on, and last what is to be kept: the title above its underline, or a rest."""
    if title_chars is None:
        return list(windows(text, PART_CHARS))
    end = max(0, len(text) - title_chars)
    return [text[:end], text[end:]]


@dataclass
class _Outline:
    """What the lines so far say about the next one."""

    headings: HeadingPath = field(default_factory=HeadingPath)
    ended: str | None = None
    _fence: str | None = None
    _previous: str = ""
    _started: bool = False
    _in_front_matter: bool = False

    def follow(self, line: str) -> int | None:
        """Take the next line; if a section begins, return how long the part of its title before is."""
        self.ended = self.headings.section
        begins = None if self._is_opaque(line) else self._heading(line)
        self._previous = line
        return begins

    def _is_opaque(self, line: str) -> bool:
        if not self._started:
            self._started = True
            self._in_front_matter = line.rstrip() == "---"
            return self._in_front_matter
        if self._in_front_matter:
            self._in_front_matter = _FRONT_MATTER_END.match(line) is None
            return True
        return self._is_fenced(line)

    def _is_fenced(self, line: str) -> bool:
        fence = _FENCE.match(line)
        if self._fence is None:
            if fence and not (fence[1][0] == "`" and "`" in fence[2]):
                self._fence = fence[1]
            return self._fence is not None
        if fence and fence[1].startswith(self._fence) and not fence[2].strip():
            self._fence = None
        return True

    def _heading(self, line: str) -> int | None:
        if atx := _ATX.match(line):
            self.headings.enter(len(atx[1]), atx[2] or "")
            return 0
        underline = _SETEXT.match(line)
        if underline is None or _NOT_A_TITLE.match(self._previous) or not self._previous.endswith("\n"):
            return None
        self.headings.enter(1 if underline[1][0] == "=" else 2, self._previous)
        return len(self._previous)
