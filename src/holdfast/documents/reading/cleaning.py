"""Text as it is stored: no character PostgreSQL refuses, one form for what looks the same."""

import re
import unicodedata
from collections.abc import Iterator

# PDF fonts carry these ligatures as letters of their own, and nobody searches for "ﬁle".
_LIGATURES = dict(zip(range(0xFB00, 0xFB07), ("ff", "fi", "fl", "ffi", "ffl", "st", "st"), strict=True))
_NEWLINES = dict.fromkeys((0x0B, 0x0C, 0x85, 0x2028, 0x2029), "\n")
_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0xAD, 0xFEFF, 0xFFFE, 0xFFFF])
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_TABLE = {**_SURROGATES, **_CONTROLS, **_LIGATURES, **_NEWLINES, 0x09: "\t", 0x0A: "\n"}
_UNUSUAL = re.compile(r"[^\n\t\x20-\x7e]")
_LINE_END = re.compile(r"[ \t]+(?=\n)")
_BLANK_LINES = re.compile(r"\n{3,}")


def clean(text: str) -> str:
    """Return the text in Unicode form NFC, without control characters, surrogates and runs of blank lines.

    NFC and not NFKC: the latter would turn `x²` into `x2`. Soft hyphens go, among them those by which PDFium
    marks a word it joined across a line end.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _UNUSUAL.search(text):
        text = unicodedata.normalize("NFC", text.translate(_TABLE))
    return _BLANK_LINES.sub("\n\n", _LINE_END.sub("", text)).strip("\n").rstrip()


def clean_line(text: str, max_chars: int = 200) -> str | None:
    """Return a title or heading as one clean line of at most `max_chars` characters; `None` if empty."""
    return " ".join(clean(text).split())[:max_chars].strip() or None


def windows(text: str, max_chars: int) -> Iterator[str]:
    """Cut a text into consecutive stretches of at most `max_chars`, best at a blank line or space.

    The stretches joined are the text, so a character's offset can be told from the lengths before it.
    """
    start = 0
    while len(text) - start > max_chars:
        end = _cut(text, start, start + max_chars)
        yield text[start:end]
        start = end
    yield text[start:]


def _cut(text: str, start: int, end: int) -> int:
    # A boundary in the first half would leave a window too small to split well.
    middle = (start + end) // 2
    for boundary in ("\n\n", "\n", " "):
        if (found := text.rfind(boundary, middle, end)) >= 0:
            return found + len(boundary)
    return end
