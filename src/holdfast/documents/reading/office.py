"""Office documents, by kreuzberg (the extra `office`), as Markdown and so with sections."""

import io
from collections.abc import Iterator
from pathlib import Path

from holdfast.documents.media_types import MediaType
from holdfast.documents.reading.cleaning import clean_line
from holdfast.documents.reading.markdown import markdown_parts
from holdfast.documents.reading.media import unreadable
from holdfast.documents.reading.parts import Facts, Part


def read_office(path: Path, media_type: MediaType) -> tuple[Facts, Iterator[Part]]:
    """Read a Word, PowerPoint or Excel document that `archive.office_type` has found safe.

    Raises `DocumentError` with code `extra_missing` without the extra, `malformed` when the reader gives up.
    """
    try:
        import kreuzberg
    except ImportError as error:
        message = "Office documents need the extra: pip install 'holdfast[office]'."
        raise unreadable("extra_missing", message) from error
    config = kreuzberg.ExtractionConfig(output_format="markdown", use_cache=False)
    try:
        result = kreuzberg.extract_file_sync(str(path), media_type.value, config=config)
    # A third-party parser over hostile input: whatever it raises means that it could not read the document.
    # Memory is the exception, it has a code of its own.
    except MemoryError:
        raise
    except Exception as error:
        raise unreadable("malformed", "The Office document is damaged and cannot be read.") from error
    core = result.metadata.get("core_properties")
    title = core.get("title") if isinstance(core, dict) else None
    return Facts(media_type, title=clean_line(title or "")), markdown_parts(io.StringIO(result.content))
