"""Which encoding a text file is in, decided by rules that can be told and not by statistics."""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from holdfast.documents.reading.media import HEAD_BYTES, unreadable, utf16_without_bom

_SCAN_BYTES = 1 << 20
_ASCII = bytes(range(128))
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(
    rb"<(?:meta|\?xml)\b[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([\w:.-]+)", re.IGNORECASE
)
# As browsers read these labels: WHATWG Encoding Standard, section 4.2. A page that could be read as far as a
# declaration in ASCII is not UTF-16.
_LABELS = {
    **dict.fromkeys(("iso-8859-1", "latin-1", "latin1", "ascii", "us-ascii"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be"), "utf-8"),
}


def text_encoding(path: Path) -> str:
    """Return the codec to read a text file with, errors replaced.

    A byte order mark wins, then UTF-8 (a few broken bytes are forgiven), then Windows-1252 when most of the
    text is ASCII. Anything else would be a guess that turns a document into noise: `DocumentError`, code
    `encoding`.
    """
    head = _head(path)
    if marked := _marked(head) or utf16_without_bom(head):
        return marked
    census = _census(path)
    if census.broken * 10 <= census.beyond_ascii:
        return "utf-8"
    if census.high_bytes * 10 <= census.size * 3:
        return "cp1252"
    raise unreadable("encoding", "The text is in no encoding that can be recognised; save it as UTF-8.")


def html_encoding(path: Path) -> str:
    """Like `text_encoding`, believing what the page declares about itself."""
    head = _head(path)
    declared = _DECLARED.search(head)
    if declared is None or _marked(head):
        return text_encoding(path)
    label = declared[1].decode("ascii").lower()
    label = _LABELS.get(label, label)
    try:
        # Not every codec of Python's is one of text, nor can each replace what it cannot read.
        b"x".decode(label, "replace")
    except (LookupError, UnicodeError):
        return text_encoding(path)
    return label


@dataclass(frozen=True, slots=True)
class _Census:
    size: int
    high_bytes: int
    broken: int
    beyond_ascii: int


def _census(path: Path) -> _Census:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    size = high_bytes = broken = beyond_ascii = 0
    with path.open("rb") as file:
        while block := file.read(_SCAN_BYTES):
            text = decoder.decode(block)
            size += len(block)
            high_bytes += len(block.translate(None, _ASCII))
            broken += text.count("\ufffd")
            beyond_ascii += len(text) - len(text.encode("ascii", "ignore"))
    return _Census(size, high_bytes, broken, beyond_ascii)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _marked(head: bytes) -> str | None:
    return next((codec for mark, codec in _MARKS if head.startswith(mark)), None)
