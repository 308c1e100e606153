"""What reading hands from one side of the process boundary to the other."""

from dataclasses import dataclass

from holdfast.documents.media_types import MediaType
from holdfast.documents.reading.media import unreadable
from holdfast.errors import DocumentError

PART_CHARS = 32_768
"""The longest text of one part, so that one line of 50 MB is never one record."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a document's text, at most `PART_CHARS` characters when it comes from `read_document`.

    `page` counts from 1 and is `None` where the format has no pages. `section` is the path of headings above
    the text, such as `Install > Linux`, and `None` before the first heading or where there are none.
    """

    text: str
    page: int | None = None
    section: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a document before its text: `page_count` is for PDFs alone."""

    media_type: MediaType
    page_count: int | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What one document may cost before it is refused.

    `wall_seconds` counts the time spent waiting for the reader, not the time the consumer takes between two
    parts: embedding may be slow. `memory_bytes` is address space of the reading process, its libraries
    included; below 256 MiB the Office reader does not start.
    """

    memory_bytes: int = 1 << 30
    cpu_seconds: int = 300
    wall_seconds: float = 300
    max_chars: int = 50_000_000
    archive_bytes: int = 256 << 20

    def out_of_memory(self) -> DocumentError:
        """Return the error for a document that needs more memory than it may have."""
        mebibytes = self.memory_bytes >> 20
        return unreadable("memory_limit", f"Reading the document takes more than {mebibytes} MiB of memory.")

    def out_of_time(self, seconds: float) -> DocumentError:
        """Return the error for a document that takes longer than `seconds`, one of the two time limits."""
        return unreadable("time_limit", f"Reading the document takes more than {seconds:g} seconds.")
