"""The types of documents that can be read, and the names that files of them have."""

from enum import StrEnum
from pathlib import PurePath
from typing import Final


class MediaType(StrEnum):
    """The kinds of documents that can be read; the value is the MIME type."""

    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    HTML = "text/html"
    MARKDOWN = "text/markdown"
    TEXT = "text/plain"


OFFICE: Final = frozenset({MediaType.DOCX, MediaType.PPTX, MediaType.XLSX})

SUPPORTED: Final[dict[str, MediaType]] = {
    ".pdf": MediaType.PDF,
    ".docx": MediaType.DOCX,
    ".pptx": MediaType.PPTX,
    ".xlsx": MediaType.XLSX,
    **dict.fromkeys((".html", ".htm", ".xhtml"), MediaType.HTML),
    **dict.fromkeys((".md", ".markdown"), MediaType.MARKDOWN),
    **dict.fromkeys(
        (".txt", ".text", ".rst", ".adoc", ".org", ".tex", ".log", ".csv", ".tsv", ".json", ".yaml", ".yml"),
        MediaType.TEXT,
    ),
}
"""Lower-case suffix to the type a file of that name should have."""


def supported_suffixes() -> frozenset[str]:
    """Return the suffixes worth uploading, lower-case and with their dot."""
    return frozenset(SUPPORTED)


def is_supported_name(name: str) -> bool:
    """Say whether a file of this name is worth uploading; a name without a suffix is, its content decides."""
    suffix = PurePath(name).suffix.lower()
    return not suffix or suffix in SUPPORTED
