import subprocess
import sys

import pytest

from document_files import docx, html, image_only_pdf, pdf, png
from holdfast.documents.reading import MediaType, is_supported_name, sniff, supported_suffixes
from holdfast.errors import DocumentError


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (pdf(["hello"]), "a.pdf", MediaType.PDF),
        (pdf(["hello"]), "notes.txt", MediaType.PDF),
        (b"junk before the header\n" + pdf(["hello"]), "a.pdf", MediaType.PDF),
        (docx(["hello"]), "a.docx", MediaType.DOCX),
        (docx(["hello"]), "a.pdf", MediaType.DOCX),
        (html("<p>hello"), "a.txt", MediaType.HTML),
        (b"<!-- saved -->\n<HTML lang=en>", "a", MediaType.HTML),
        ("<!doctype html><p>x".encode("utf-16"), "a", MediaType.HTML),
        (b"hello", "a.html", MediaType.HTML),
        (b"<div align=center># Title</div>", "README.md", MediaType.MARKDOWN),
        (b"# Title", "README.MARKDOWN", MediaType.MARKDOWN),
        (b"# Title", "README", MediaType.TEXT),
        (b"Title\n=====", "index.rst", MediaType.TEXT),
        (b"A PDF begins with its header:\n%PDF-1.4\n", "formats.md", MediaType.MARKDOWN),
        ("wide".encode("utf-16"), "a.txt", MediaType.TEXT),
        ("wide, without a mark".encode("utf-16-le"), "a.txt", MediaType.TEXT),
        (b"with\0a few\0zero bytes in it", "a.txt", MediaType.TEXT),
        ("caf\xe9 au lait".encode("latin-1"), "a.txt", MediaType.TEXT),
    ],
)
def test_content_tells_the_type_and_the_name_only_tells_markdown(content, name, expected):
    assert sniff(content[:4096], name) is expected


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"", "a.txt", "empty"),
        (png(), "report.pdf", "type_mismatch"),
        (b"just text", "report.pdf", "type_mismatch"),
        (html("<h1>Please log in</h1>"), "report.pdf", "type_mismatch"),
        (b"just text", "report.docx", "type_mismatch"),
        (png(), "notes.txt", "unsupported_type"),
        (png(), "notes", "unsupported_type"),
        (b"PK\x03\x04some/file.bin", "data", "unsupported_type"),
        (b"{\\rtf1 hello}", "a.txt", "unsupported_type"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "old.doc", "unsupported_type"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "locked.docx", "encrypted"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_code(content, name, code):
    with pytest.raises(DocumentError) as error:
        sniff(content, name)
    assert (error.value.code, error.value.stage) == (code, "read")


def test_names_are_refused_only_when_clearly_unsupported():
    assert is_supported_name("Report.PDF")
    assert is_supported_name("README")
    assert not is_supported_name("setup.exe")
    assert not is_supported_name("photo.png")
    assert {".pdf", ".docx", ".md", ".html"} <= supported_suffixes()


def test_sniffing_loads_no_parser():
    loaded = (
        "import sys, holdfast.documents.reading;"
        "print({'pypdfium2', 'selectolax', 'kreuzberg', 'semantic_text_splitter'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True).strip() == "set()"


def test_a_scan_is_a_pdf():
    assert sniff(image_only_pdf(), "scan.pdf") is MediaType.PDF
