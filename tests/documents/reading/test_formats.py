from dataclasses import replace

import pytest

from document_files import (
    docx,
    encrypted_pdf,
    html,
    image_only_pdf,
    lying_zip_bomb_docx,
    pdf,
    png,
    pptx,
    truncated_pdf,
    xlsx,
    zip_bomb_docx,
)
from holdfast.documents.reading import MediaType, Part, ReadLimits, read_document


def test_pdf_gives_one_part_per_page_that_has_text(read):
    assert read(pdf(["first page", "", "third (page)\nsecond line"]), "a.pdf") == [
        Part("first page", page=1),
        Part("third (page)\nsecond line", page=3),
    ]


def test_pdf_facts_come_before_the_text(save):
    path = save(pdf(["one", "two"], title="Über Seetang"), "a.pdf")
    with read_document(path, "a.pdf") as document:
        assert document.media_type is MediaType.PDF
        assert document.page_count == 2
        assert document.title == "Über Seetang"


def test_file_with_a_lying_name_is_read_as_what_it_is(read):
    assert read(pdf(["a pdf in truth"]), "notes.txt") == [Part("a pdf in truth", page=1)]


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (encrypted_pdf(), "a.pdf", "encrypted"),
        (truncated_pdf(), "a.pdf", "malformed"),
        (pdf(["hello"])[:100], "a.pdf", "malformed"),
        (image_only_pdf(3), "a.pdf", "no_text"),
        (pdf([""]), "a.pdf", "no_text"),
        (png(), "a.pdf", "type_mismatch"),
        (png(), "a.txt", "unsupported_type"),
        (b"", "a.txt", "empty"),
        (b" \n\t\r\n\0", "a.txt", "empty"),
        (html("<script>only()</script>"), "a.html", "empty"),
        (docx([]), "a.docx", "empty"),
        (docx(["hello"])[:-30], "a.docx", "malformed"),
        (docx(["hello"]).replace(b"word/document", b"word/documemt"), "a.docx", "malformed"),
        (b"PK\x03\x04word/" + bytes(200), "a.docx", "malformed"),
        (zip_bomb_docx(), "a.docx", "archive_bomb"),
        (lying_zip_bomb_docx(), "a.docx", "archive_bomb"),
        ("Привет, мир".encode("cp1251"), "a.txt", "encoding"),
        ("こんにちは世界".encode("shift-jis"), "a.txt", "encoding"),
    ],
)
def test_bad_document_is_refused_with_a_code(refusal, content, name, code):
    assert refusal(content, name).code == code


def test_owner_password_alone_does_not_lock_a_pdf(read):
    assert [part.page for part in read(encrypted_pdf(user_password=""), "a.pdf")] == [1]


def test_docx_headings_become_sections(read):
    content = docx(["# Install", "Get it.", "## Linux", "apt & <friends>", "# Use", "Run it."])
    sections = {part.section: part.text for part in read(content, "a.docx")}
    assert list(sections) == ["Install", "Install > Linux", "Use"]
    assert "apt" in sections["Install > Linux"]
    assert "friends" in sections["Install > Linux"]


def test_spreadsheet_tables_keep_their_rows(read):
    (part,) = read(xlsx([["Name", "Depth"], ["kelp", "30 m"]], sheet="Depths"), "a.xlsx")
    assert part.section == "Depths"
    assert "| kelp | 30 m |" in part.text


def test_slides_become_sections(read):
    parts = read(pptx([("Roots", "Kelp has none."), ("Holdfasts", "Kelp has one.")]), "a.pptx")
    assert [part.section for part in parts] == ["Roots", "Holdfasts"]
    assert "Kelp has one." in parts[1].text


def test_name_that_is_no_unicode_is_accepted(save):
    with read_document(save(b"kelp", "a.txt"), "\udcff.txt") as document:
        assert list(document.parts) == [Part("kelp")]


def test_docx_title_is_a_fact(save):
    with read_document(save(docx(["x"], title="Kelp"), "a.docx"), "a.docx") as document:
        assert (document.media_type, document.title) == (MediaType.DOCX, "Kelp")


def test_without_the_extra_office_documents_say_what_to_install(refusal, tmp_path, monkeypatch):
    (tmp_path / "kreuzberg.py").write_text("raise ImportError('not installed')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    error = refusal(docx(["hello"]), "a.docx")
    assert error.code == "extra_missing"
    assert "holdfast[office]" in error.message


def test_archive_within_its_limit_is_read_and_above_it_refused(read, refusal):
    content = docx(["kelp " * 10_000])
    assert read(content, "a.docx")
    assert refusal(content, "a.docx", replace(ReadLimits(), archive_bytes=40_000)).code == "archive_bomb"


def test_text_beyond_the_limit_is_refused(read, refusal):
    assert read(b"x" * 1000, "a.txt", ReadLimits(max_chars=1000))
    assert refusal(b"x" * 1001, "a.txt", ReadLimits(max_chars=1000)).code == "too_much_text"


def test_missing_file_is_no_fault_of_the_document(tmp_path):
    with pytest.raises(FileNotFoundError), read_document(tmp_path / "gone.txt", "gone.txt"):
        pass
