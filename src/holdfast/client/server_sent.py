"""Server-sent events, as https://html.spec.whatwg.org/multipage/server-sent-events.html reads them."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE = re.compile(r"\r\n|\n|\r")
# A line that grows beyond this is no event of ours.
_LONGEST = 16_000_000


@dataclass(frozen=True)
class Frame:
    """One event as it was sent; `id` is empty if it has none of its own."""

    id: str
    event: str
    data: str


class FrameReader:
    """Makes frames out of bytes, in whatever pieces they come."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        self._starts = True
        self._id = self._event = ""
        self._data: list[str] = []
        self.retry_seconds: float | None = None

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """The frames that are whole with this piece; raises `ValueError` for a line without an end."""
        text = self._rest + self._decode(piece)
        if self._starts and text:
            text, self._starts = text.removeprefix("\ufeff"), False
        # The last may be half of "\r\n".
        is_open = text.endswith("\r")
        *lines, self._rest = _LINE.split(text[:-1] if is_open else text)
        self._rest += "\r" if is_open else ""
        if len(self._rest) > _LONGEST:
            raise ValueError(f"a line of more than {_LONGEST:,} characters")
        for line in lines:
            if line:
                self._take(line)
            elif (frame := self._whole()) is not None:
                yield frame

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isdecimal():
                self.retry_seconds = int(value[:9]) / 1000
            case _:
                pass  # a comment, or a field to come

    def _whole(self) -> Frame | None:
        frame = Frame(self._id, self._event or "message", "\n".join(self._data)) if self._data else None
        self._id = self._event = ""
        self._data = []
        return frame
