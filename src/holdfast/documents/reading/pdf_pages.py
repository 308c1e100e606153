"""The text of a PDF, page by page, by PDFium."""

from collections.abc import Iterator
from pathlib import Path

import pypdfium2

from holdfast.documents.media_types import MediaType
from holdfast.documents.reading.cleaning import clean_line
from holdfast.documents.reading.media import unreadable
from holdfast.documents.reading.parts import Facts, Part
from holdfast.errors import DocumentError

_TAIL_BYTES = 65_536
# FPDF_ERR_PASSWORD and FPDF_ERR_SECURITY of PDFium's fpdfview.h.
_LOCKED = {4, 5}


def read_pdf(path: Path) -> tuple[Facts, Iterator[Part]]:
    """Open a PDF; each part is a page that has text.

    Raises `DocumentError` with code `encrypted` or `malformed`, the latter also from the iterator: a damaged
    page fails the document, because a page left out would go unnoticed.
    """
    try:
        document = pypdfium2.PdfDocument(path)
        page_count = len(document)
        title = clean_line(document.get_metadata_dict().get("Title", ""))
    except pypdfium2.PdfiumError as error:
        raise _refused(error) from error
    if page_count == 0 or not _has_trailer(path):
        raise unreadable("malformed", "The PDF is cut off or damaged; upload the whole file.")
    return Facts(MediaType.PDF, page_count, title), _pages(document, page_count)


def _pages(document: pypdfium2.PdfDocument, page_count: int) -> Iterator[Part]:
    for index in range(page_count):
        try:
            text = _page_text(document, index)
        except pypdfium2.PdfiumError as error:
            raise unreadable("malformed", f"Page {index + 1} of the PDF cannot be read.") from error
        if text:
            yield Part(text, page=index + 1)


def _page_text(document: pypdfium2.PdfDocument, index: int) -> str:
    page = document[index]
    try:
        text_page = page.get_textpage()
        try:
            # Bounded to the page: what lies off it is invisible to a human reader.
            return str(text_page.get_text_bounded()).strip()
        finally:
            text_page.close()
    finally:
        # Closing at once holds memory flat over thousands of pages.
        page.close()


def _has_trailer(path: Path) -> bool:
    # PDFium rebuilds a truncated file from the objects that are left and reads on as if nothing was lost.
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return b"%%EOF" in file.read()


def _refused(error: pypdfium2.PdfiumError) -> DocumentError:
    if getattr(error, "err_code", None) in _LOCKED:
        return unreadable("encrypted", "The PDF is encrypted; upload it without a password.")
    return unreadable("malformed", "The PDF is damaged and cannot be opened.")
