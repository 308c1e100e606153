"""Reading a document in a process of its own."""

import contextlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from holdfast.documents.media_types import MediaType
from holdfast.documents.reading.media import unreadable
from holdfast.documents.reading.parts import Part, ReadLimits
from holdfast.documents.reading.process import ReadingProcess

DEFAULT_LIMITS: Final = ReadLimits()


@dataclass(frozen=True, slots=True)
class Document:
    """An open document: what is known of it, and its text as a stream that can be read once.

    `page_count` is for PDFs alone. `parts` raises `DocumentError` wherever the reader meets its end.
    """

    media_type: MediaType
    page_count: int | None
    title: str | None
    parts: Iterator[Part]


@contextmanager
def read_document(path: Path, name: str, limits: ReadLimits = DEFAULT_LIMITS) -> Generator[Document]:
    """Open a document and stream its text; the reading process is gone when the block is left.

    `name` is what the uploader called the file. Works in threads and in daemonic worker processes. The
    process is held back while the consumer is busy, so memory stays bounded on both sides.

    Raises:
        DocumentError: stage `read`, at opening or out of `parts`. For its content: `empty`, `no_text`,
            `encrypted`, `malformed`, `encoding`, `type_mismatch`, `unsupported_type`, `archive_bomb`,
            `too_much_text`. For its cost: `memory_limit`, `time_limit`. Else `extra_missing` or
            `reader_crashed`.
        Retry: code `reader_killed`: the system killed the process, which says nothing about the document.
        OSError: the file cannot be opened.
    """
    # An uploaded name may hold surrogates, which JSON cannot carry; only its suffix matters.
    printable = name.encode(errors="replace").decode()
    request = {"path": str(path.absolute()), "name": printable, "limits": asdict(limits)}
    with contextlib.closing(ReadingProcess(orjson.dumps(request) + b"\n", limits)) as process:
        records = _records(process)
        facts = next(records)["facts"]
        yield Document(
            media_type=MediaType(facts["media_type"]),
            page_count=facts["page_count"],
            title=facts["title"],
            parts=(Part(*record["part"]) for record in records),
        )


def _records(process: ReadingProcess) -> Iterator[dict[str, Any]]:
    """Yield facts and parts until the end record; an error record or a missing end raises."""
    for line in process.lines():
        record: dict[str, Any] = orjson.loads(line)
        if "end" in record:
            return
        if "unavailable" in record:
            raise OSError(*record["unavailable"])
        if error := record.get("error"):
            raise unreadable(error["code"], error["message"])
        yield record
    raise process.cause_of_death()
