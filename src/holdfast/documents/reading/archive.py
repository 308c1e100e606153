"""ZIP containers: which Office format one holds, and whether unpacking it is safe."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from holdfast.documents.media_types import MediaType
from holdfast.documents.reading.media import unreadable
from holdfast.errors import DocumentError

_MAX_MEMBERS = 10_000
_MAX_TYPES_BYTES = 1 << 20
_BLOCK = 65_536
_ENCRYPTED_FLAG = 0x1
_MAIN_PARTS = (
    (b"wordprocessingml.document.main", MediaType.DOCX),
    (b"wordprocessingml.template.main", MediaType.DOCX),
    (b"word.document.macroEnabled.main", MediaType.DOCX),
    (b"presentationml.presentation.main", MediaType.PPTX),
    (b"presentationml.slideshow.main", MediaType.PPTX),
    (b"spreadsheetml.sheet.main", MediaType.XLSX),
)
# What `zipfile` and `zlib` raise on hostile bytes.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError, RuntimeError)


def office_type(path: Path, max_bytes: int) -> MediaType:
    """Return which Office format a ZIP container holds, after proving that unpacking it stays in bounds.

    Every member is unpacked once, in blocks, and counted: the sizes a container declares may lie, and the
    Office reader believes them. Raises `DocumentError` with code `archive_bomb` when the members together
    exceed `max_bytes` or their own declaration, `encrypted`, `malformed`, or `unsupported_type`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_declared(members, max_bytes)
            _check_real(path, members, max_bytes)
            return _content_type(archive)
    except _BROKEN as error:
        raise unreadable("malformed", "The Office document is cut off or damaged.") from error


def _check_declared(members: list[zipfile.ZipInfo], max_bytes: int) -> None:
    if any(member.flag_bits & _ENCRYPTED_FLAG for member in members):
        raise unreadable("encrypted", "The Office document is encrypted; upload it without a password.")
    if len(members) > _MAX_MEMBERS or sum(member.file_size for member in members) > max_bytes:
        raise _bomb(max_bytes)


def _check_real(path: Path, members: list[zipfile.ZipInfo], max_bytes: int) -> None:
    total = 0
    with path.open("rb") as file:
        for member in members:
            size = 0
            for block_size in _unpacked(file, member):
                size += block_size
                if size > member.file_size or total + size > max_bytes:
                    raise _bomb(max_bytes)
            total += size


def _unpacked(file: IO[bytes], member: zipfile.ZipInfo) -> Iterator[int]:
    """Yield the sizes of a member's unpacked blocks; `zipfile` itself would stop at the declared size."""
    # The local header is 30 bytes, then name and extra field, whose lengths stand at offsets 26 and 28.
    file.seek(member.header_offset)
    header = file.read(30)
    file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
    if member.compress_type == zipfile.ZIP_STORED:
        yield member.compress_size
        return
    if member.compress_type != zipfile.ZIP_DEFLATED:
        raise NotImplementedError("Office containers are stored or deflated")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left = member.compress_size
    while left > 0 and not inflater.eof and (data := file.read(min(left, _BLOCK))):
        left -= len(data)
        while data and not inflater.eof:
            yield len(inflater.decompress(data, _BLOCK))
            data = inflater.unconsumed_tail


def _content_type(archive: zipfile.ZipFile) -> MediaType:
    try:
        with archive.open("[Content_Types].xml") as file:
            types = file.read(_MAX_TYPES_BYTES)
    except KeyError:
        types = b""
    for marker, media_type in _MAIN_PARTS:
        if marker in types:
            return media_type
    raise unreadable("unsupported_type", "The archive is not a Word, PowerPoint or Excel document.")


def _bomb(max_bytes: int) -> DocumentError:
    return unreadable(
        "archive_bomb", f"The document unpacks to more than {max_bytes:,} bytes, or lies about it."
    )
