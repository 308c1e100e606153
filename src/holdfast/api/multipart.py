"""Multipart forms as a stream of parts: nothing is buffered but the piece that just arrived.

b"--x\\r\\n..." ──parser──▶ Part(name, file name), b"...", b"...", PartEnd(), Part(...), ...

Sizes are limited here, so that a form is refused before it is whole.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from holdfast.api.problems import Refused

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# Room for boundaries, part headers and fields beside the file itself.
OVERHEAD_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Part:
    """A part begins. `file_name` is as the client sent it; `None`: the part is a field, not a file."""

    name: str
    file_name: str | None


@dataclass(frozen=True)
class PartEnd:
    """The part that began last is whole."""


Event = Part | PartEnd | bytes


async def read_parts(
    body: AsyncIterator[bytes], content_type: str | None, *, max_bytes: int
) -> AsyncIterator[Event]:
    """Parse a form while it arrives. Bytes are the content of the part that began last.

    Ends only after the form's closing boundary and the end of the body.

    Raises:
        Refused: it is no multipart form (`unsupported_media_type`), it is broken or cut off
            (`malformed_body`), or longer than `max_bytes` in all (`upload_too_large`).
    """
    parts = _Parts()
    parser = MultipartParser(_boundary(content_type), parts.callbacks())
    received = 0
    async for piece in body:
        received += len(piece)
        if received > max_bytes:
            raise Refused("upload_too_large", f"The form may have {max_bytes} bytes at most.")
        try:
            parser.write(piece)
        except FormParserError as error:
            raise Refused("malformed_body", f"The form is broken: {error}.") from error
        for event in parts.take():
            yield event
    if not parts.is_whole:
        raise Refused("malformed_body", "The form ends before its closing boundary.")


class _Parts:
    """Collects what the parser calls back, until it is taken."""

    def __init__(self) -> None:
        self.is_whole = False
        self._events: list[Event] = []
        self._pieces: list[bytes] = []
        self._headers: dict[str, str] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": _appending(self._header_name),
            "on_header_value": _appending(self._header_value),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_part,
            "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def take(self) -> list[Event]:
        self._join_pieces()
        events, self._events = self._events, []
        return events

    def _end_header(self) -> None:
        self._headers[self._header_name.decode("latin-1").lower()] = self._header_value.decode("latin-1")
        self._header_name.clear()
        self._header_value.clear()

    def _begin_part(self) -> None:
        kind, options = parse_options_header(self._headers.get("content-disposition"))
        name, file_name = options.get(b"name"), options.get(b"filename")
        if kind != b"form-data" or name is None:
            raise Refused("malformed_body", "A part of the form has no name.")
        self._events.append(Part(_text(name), None if file_name is None else _text(file_name)))

    def _end_part(self) -> None:
        self._join_pieces()
        self._events.append(PartEnd())

    def _end(self) -> None:
        self.is_whole = True

    def _join_pieces(self) -> None:
        if self._pieces:
            self._events.append(b"".join(self._pieces))
            self._pieces.clear()


def _appending(buffer: bytearray) -> Callable[[bytes, int, int], None]:
    def append(data: bytes, start: int, end: int) -> None:
        buffer.extend(data[start:end])

    return append


def _boundary(content_type: str | None) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Refused("unsupported_media_type", "Send the file as multipart/form-data.")
    boundary = options.get(b"boundary")
    # RFC 2046, section 5.1.1: 1 to 70 characters.
    if not boundary or len(boundary) > 70:
        raise Refused("malformed_body", "The content type names no usable boundary.")
    return boundary


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
