"""The reading process: takes one request on stdin, sends records on stdout, dies with its parent.

The request is one JSON line, `{"path", "name", "limits"}`; stdin stays open for as long as the parent lives.
Records are JSON lines too, in this order:

    {"facts": {...}}                          once
    {"part": [text, page, section]}           any number
    {"end": true}                             last, or one of these two at any time:
    {"error": {"code": ..., "message": ...}}  the document's fault
    {"unavailable": [errno, message]}         the file could not be opened

A stream without a last record is a crash.
"""

import fcntl
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from holdfast.documents.media_types import OFFICE, MediaType
from holdfast.documents.reading.cleaning import clean, windows
from holdfast.documents.reading.media import identify, unreadable
from holdfast.documents.reading.parts import PART_CHARS, Facts, Part, ReadLimits
from holdfast.errors import DocumentError


def main() -> None:
    """Serve the one request this process was started for."""
    out = _take_stdout()
    request = orjson.loads(_receive_line())
    _die_with_parent()
    limits = ReadLimits(**request["limits"])
    _limit_resources(limits)
    try:
        _serve(Path(request["path"]), request["name"], limits, out)
    except DocumentError as error:
        _send_error(out, error)
    except MemoryError:
        _send_error(out, limits.out_of_memory())
    except OSError as error:
        # The file itself, gone or forbidden: no fault of the document.
        _send(out, {"unavailable": [error.errno, error.strerror]})


def _serve(path: Path, name: str, limits: ReadLimits, out: BinaryIO) -> None:
    facts, parts = _open(path, name, limits)
    _send(out, {"facts": asdict(facts)})
    has_text = False
    for part in _bounded(parts, limits.max_chars):
        has_text = True
        _send(out, {"part": [part.text, part.page, part.section]})
    if not has_text and facts.media_type is MediaType.PDF:
        raise unreadable(
            "no_text", "The PDF holds no text, only images perhaps; recognise its text first (OCR)."
        )
    if not has_text:
        raise unreadable("empty", "The document holds no text.")
    _send(out, {"end": True})


def _open(path: Path, name: str, limits: ReadLimits) -> tuple[Facts, Iterator[Part]]:
    # Each reader is imported where it is needed: a text file does not pay for loading PDFium.
    media_type = identify(path, name)
    if media_type in OFFICE:
        from holdfast.documents.reading.archive import office_type
        from holdfast.documents.reading.office import read_office

        return read_office(path, office_type(path, limits.archive_bytes))
    if media_type is MediaType.PDF:
        from holdfast.documents.reading.pdf_pages import read_pdf

        return read_pdf(path)
    if media_type is MediaType.HTML:
        from holdfast.documents.reading.html_text import read_html

        return read_html(path)
    from holdfast.documents.reading.plain_text import read_markdown, read_text

    return read_markdown(path) if media_type is MediaType.MARKDOWN else read_text(path)


def _bounded(parts: Iterator[Part], max_chars: int) -> Iterator[Part]:
    total = 0
    for part in parts:
        for text in windows(clean(part.text), PART_CHARS):
            total += len(text)
            if total > max_chars:
                raise unreadable("too_much_text", f"The document holds more than {max_chars:,} characters.")
            if not text.isspace() and text:
                yield Part(text, part.page, part.section)


def _take_stdout() -> BinaryIO:
    # Parsers may print; what they print must not land between the records.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return out


def _send(out: BinaryIO, record: dict[str, Any]) -> None:
    out.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    out.flush()


def _send_error(out: BinaryIO, error: DocumentError) -> None:
    _send(out, {"error": {"code": error.code, "message": error.message}})


def _receive_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(sys.stdin.fileno(), 65_536)
        if not data:
            sys.exit("the parent is gone")
        line += data
    return line


def _die_with_parent() -> None:
    """Ask the kernel for SIGIO, whose default is death, when the parent's end of stdin closes.

    It works in the middle of a parser's C code. PR_SET_PDEATHSIG would not do: it follows the thread that
    started us, and thread pools end idle threads while another one goes on reading.
    """
    # A service manager that stops the worker signals us too; the worker finishes its document or kills us.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    stdin = sys.stdin.fileno()
    fcntl.fcntl(stdin, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(stdin, fcntl.F_SETFL, fcntl.fcntl(stdin, fcntl.F_GETFL) | os.O_ASYNC)
    hangup = select.poll()
    hangup.register(stdin, select.POLLIN)
    if hangup.poll(0):
        sys.exit("the parent is gone")


def _limit_resources(limits: ReadLimits) -> None:
    _limit(resource.RLIMIT_CORE, 0)
    # SIGXCPU ends the process and tells the parent why.
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds, grace=5)
    # macOS knows the limit but refuses to set it.
    if sys.platform == "linux":
        _limit(resource.RLIMIT_AS, limits.memory_bytes)


def _limit(kind: int, soft: int, grace: int = 0) -> None:
    _, hard = resource.getrlimit(kind)
    hard = soft + grace if hard == resource.RLIM_INFINITY else min(hard, soft + grace)
    resource.setrlimit(kind, (min(soft, hard), hard))
