"""What a file is, told by its content; the name only decides between kinds of text."""

import codecs
import re
from pathlib import Path, PurePath
from typing import Final

from holdfast.documents.media_types import OFFICE, SUPPORTED, MediaType
from holdfast.errors import DocumentError

HEAD_BYTES: Final = 4096
"""How much of a file's beginning `sniff` wants to see."""


_CONTAINER_FOLDERS = ((b"word/", MediaType.DOCX), (b"ppt/", MediaType.PPTX), (b"xl/", MediaType.XLSX))
_PDF_HEADER = re.compile(rb"^%PDF-\d\.\d", re.MULTILINE)
_HTML_START = re.compile(
    rb"(?:\s|<!--.*?-->|<\?xml[^>]*>)*<(?:!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE | re.DOTALL
)
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\b\x1b")) + b"\x7f"


def sniff(head: bytes, name: str) -> MediaType:
    """Tell a document's type from its first `HEAD_BYTES` bytes, and from its name where both are text.

    A ZIP container whose head does not show which Office format it holds is believed its name; reading it
    looks inside. Raises `DocumentError` with code `empty`, `encrypted`, `type_mismatch` or
    `unsupported_type`, stage `read`.
    """
    expected = SUPPORTED.get(PurePath(name).suffix.lower())
    if not head:
        raise unreadable("empty", "The file is empty.")
    if head.startswith(_COMPOUND_FILE):
        raise _compound_file(expected)
    found = _by_signature(head, expected)
    if found is None and (expected is MediaType.PDF or expected in OFFICE):
        suffix = PurePath(name).suffix.lower()
        raise unreadable("type_mismatch", f"The file is called {suffix} but its content is something else.")
    if found is None and _looks_binary(head):
        raise unreadable("unsupported_type", "The content is neither a supported format nor text.")
    if found is not None:
        return found
    if _is_html(head, expected):
        return MediaType.HTML
    return MediaType.MARKDOWN if expected is MediaType.MARKDOWN else MediaType.TEXT


def identify(path: Path, name: str) -> MediaType:
    """Like `sniff`, for a file on disk."""
    with path.open("rb") as file:
        return sniff(file.read(HEAD_BYTES), name)


def unreadable(code: str, message: str) -> DocumentError:
    """Build the error for a document that cannot be read, stage `read`."""
    return DocumentError(message, code=code, stage="read")


def _by_signature(head: bytes, expected: MediaType | None) -> MediaType | None:
    if _is_pdf(head, expected):
        return MediaType.PDF
    if not head.startswith(b"PK\x03\x04"):
        return None
    for folder, media_type in _CONTAINER_FOLDERS:
        if folder in head:
            return media_type
    return expected if expected in OFFICE else None


def _is_pdf(head: bytes, expected: MediaType | None) -> bool:
    # Readers accept a PDF header anywhere in the first kilobyte; a text about PDF may show one there too.
    starts_at_once = head.lstrip(b"\xef\xbb\xbf\r\n\t \0").startswith(b"%PDF-")
    is_called_text = expected in (MediaType.TEXT, MediaType.MARKDOWN, MediaType.HTML)
    return starts_at_once or (not is_called_text and _PDF_HEADER.search(head[:1024]) is not None)


def _is_html(head: bytes, expected: MediaType | None) -> bool:
    # Without zero bytes and mark, the ASCII of a page in UTF-16 shows.
    narrow = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe")
    return expected is MediaType.HTML or _HTML_START.match(narrow) is not None


def _looks_binary(head: bytes) -> bool:
    if head.startswith((b"{\\rtf", b"PK\x03\x04", b"PK\x05\x06")):
        return True
    if head.startswith(_BOMS) or utf16_without_bom(head):
        return False
    controls = len(head) - len(head.translate(None, _CONTROLS))
    # Any byte value is a control character one time in nine; text of an 8-bit code page has next to none.
    return controls * 50 > len(head) * (15 if _is_utf8(head) else 1)


def utf16_without_bom(head: bytes) -> str | None:
    """Return the codec of UTF-16 text that lacks its mark, told by where the zero bytes stand, or `None`."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) * 5 < len(head) or min(even, odd) * 50 > len(head):
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _compound_file(expected: MediaType | None) -> DocumentError:
    # Office wraps an encrypted document into the container of its formats before 2007.
    if expected in OFFICE:
        return unreadable("encrypted", "The document is encrypted; upload it without a password.")
    return unreadable("unsupported_type", "Office formats before 2007 are not supported; save it as .docx.")
