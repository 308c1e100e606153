"""What cannot be ingested fails once, says why, and harms nothing that was there before."""

from datetime import timedelta

import pytest

from document_files import (
    encrypted_pdf,
    image_only_pdf,
    lying_zip_bomb_docx,
    png,
    truncated_pdf,
    zip_bomb_docx,
)
from factories import attempt_outcomes

KOI8 = ("Сколько стоит этот старый дом у моря и кто в нём живёт теперь? " * 40).encode("koi8-r")

BAD = {
    "empty": ("a.txt", b"", "read", "empty"),
    "only blanks": ("a.txt", b" \n\t \n" * 10, "read", "empty"),
    "only NUL": ("a.txt", b"\0" * 100, "read", "unsupported_type"),
    "truncated PDF": ("a.pdf", truncated_pdf(), "read", "malformed"),
    "encrypted PDF": ("a.pdf", encrypted_pdf(), "read", "encrypted"),
    "PDF without text": ("a.pdf", image_only_pdf(3), "read", "no_text"),
    "zip bomb": ("a.docx", zip_bomb_docx(), "read", "archive_bomb"),
    "lying zip bomb": ("a.docx", lying_zip_bomb_docx(), "read", "archive_bomb"),
    "lying name": ("a.pdf", b"This is plain text.", "read", "type_mismatch"),
    "picture called text": ("a.txt", png(), "read", "unsupported_type"),
    "unknown encoding": ("a.txt", KOI8, "read", "encoding"),
}


@pytest.mark.parametrize(("name", "content", "stage", "code"), BAD.values(), ids=BAD)
def test_bad_file_fails_once_and_the_document_says_why(library, name, content, stage, code):
    upload = library.upload(content, name)
    job = library.work(upload)

    assert (job["status"], job["attempt"]) == ("failed", 1)
    assert (job["error"]["stage"], job["error"]["code"], job["error"]["attempt"]) == (stage, code, 1)
    assert job["error"]["message"]
    view = library.view(upload)
    assert (view.status, view.error, view.is_searchable) == ("failed", job["error"], False)
    assert library.chunks(upload) == []
    assert library.blobs() == []


@pytest.mark.parametrize("bad", ["truncated PDF", "PDF without text"])
def test_earlier_version_stays_searchable_and_a_mended_one_replaces_it(library, bad):
    _, content, _, _ = BAD[bad]
    good, _ = library.ingest("Whales sing.", "a")
    before = library.row(good).content_hash
    broken = library.upload(content, "a")

    assert library.work(broken)["status"] == "failed"
    assert library.found("whales") == ["a"]
    assert library.chunks(good) == ["Whales sing."]
    assert library.row(good).content_hash == before
    assert library.view(good).is_searchable
    assert library.blobs() == [good.key]

    library.ingest("Parrots talk.", "a")
    assert library.chunks(good) == ["Parrots talk."]
    assert library.view(good).error is None


def test_content_that_failed_is_tried_again_when_it_is_uploaded_again(make_library):
    """The hash is not kept before the work is done, or a failed document would be skipped for ever."""
    limits = make_library.limits
    content = "Whales sing. " * 100
    strict = make_library(limits=limits(max_chars=100))
    assert strict.work(strict.upload(content))["error"]["code"] == "too_much_text"

    upload, result = make_library().ingest(content)
    assert (result["unchanged"], result["chunks"]) == (False, len(strict.chunks(upload)))


def test_nul_bytes_in_text_are_left_out(library):
    upload, _ = library.ingest(b"Whales\0 sing. " + b"They are heard for miles. " * 20)

    assert "\0" not in "".join(library.chunks(upload))
    assert library.found("whales") == ["notes.txt"]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.txt", "a'; DROP TABLE chunks; --.txt", "%s%d{}.txt", "Ω\u202etxt.exe.txt", " "]
)
def test_hostile_name_is_nothing_but_a_label(library, name):
    upload, _ = library.ingest("Whales sing.", name)

    assert library.found("whales") == [name]
    assert library.view(upload).name == name
    assert library.blobs() == [upload.key]


def test_single_line_that_is_too_long_fails_once(make_library):
    """20 MB against a limit of 2 million characters, because the usual 50 million take half a minute."""
    library = make_library(limits=make_library.limits(max_chars=2_000_000))
    upload = library.upload(b"word " * 4_000_000)
    job = library.work(upload)

    assert (job["status"], job["attempt"]) == ("failed", 1)
    assert (job["error"]["stage"], job["error"]["code"]) == ("read", "too_much_text")
    assert library.chunks(upload) == []


def test_single_word_of_a_megabyte_is_ingested(library):
    upload, result = library.ingest(b"x" * 1_000_000)

    assert result["chunks"] == len(library.chunks(upload)) > 100


def test_upload_that_is_gone_fails_once(library):
    upload = library.upload("Whales sing.")
    (library.folder / upload.key).unlink()
    job = library.work(upload)

    assert (job["status"], job["attempt"]) == ("failed", 1)
    assert (job["error"]["stage"], job["error"]["code"]) == ("store", "upload_missing")


def test_reader_out_of_time_fails_once(make_library):
    library = make_library(limits=make_library.limits(wall_seconds=0.01))
    upload = library.upload("Whales sing.")
    job = library.work(upload)

    assert (job["status"], job["error"]["code"]) == ("failed", "time_limit")
    with library.holdfast.database.session() as session:
        assert attempt_outcomes(session, upload.job_id) == ["failed"]
    assert timedelta(0) < job["completed_at"] - job["started_at"] < timedelta(seconds=10)
