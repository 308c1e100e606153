"""An upload becomes chunks: what the job's result, the document and the rows say afterwards."""

from pathlib import Path

import pytest

from document_files import pdf
from factories import claim_job
from holdfast.documents.ingestion import Uploaded
from holdfast.documents.library import Generation
from holdfast.documents.reading import read_document, split
from holdfast.jobs.context import JobContext
from holdfast.jobs.running import RunningAttempt
from passages import passages


def read_and_split(path: Path, content, name):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with read_document(path, name) as document:
        return [chunk.text for chunk in split(document.parts)]


def test_result_tells_document_chunks_and_pages(library):
    upload, result = library.ingest(pdf([f"Page {n}: {passages(1, seed=n)}" for n in (1, 2, 3)]), "a.pdf")

    assert result == {
        "document_id": str(upload.document_id),
        "chunks": 3,
        "pages": 3,
        "unchanged": False,
        "superseded": False,
        "embedding_model": "holdfast-hashing-v1",
        "tokens": 0,
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.txt", passages(40)),
        ("page.html", f"<html><body><h1>One</h1><p>{passages(9)}</p><h2>Two</h2><p>{passages(9)}</body>"),
        ("notes.md", f"# One\n\n{passages(9)}\n\n## Two\n\n{passages(9)}"),
        ("paper.pdf", pdf([passages(2, seed=n) for n in range(5)])),
    ],
)
def test_chunks_are_those_of_reading_and_splitting(library, tmp_path, name, content):
    upload, result = library.ingest(content, name)

    expected = read_and_split(tmp_path / name, content, name)
    assert library.chunks(upload) == expected
    assert result["chunks"] == len(expected) > 1


def test_same_content_gives_the_same_chunks_in_another_document(library):
    first, _ = library.ingest(passages(30), "first.txt")
    second, _ = library.ingest(passages(30), "second.txt")

    assert library.chunks(first) == library.chunks(second)


def test_document_view_describes_what_can_be_searched(library):
    content = pdf(["The quick brown fox.", "A lazy dog."], title="Animals")
    upload, _ = library.ingest(content, "animals.pdf")

    view = library.view(upload)
    assert (view.is_searchable, view.status, view.error) == (True, "completed", None)
    assert (view.name, view.collection, view.title) == ("animals.pdf", "library", "Animals")
    assert (view.media_type, view.pages, view.chunks) == ("application/pdf", 2, 2)
    assert view.size_bytes == len(content)


def test_hits_tell_the_page_and_the_section(library):
    library.ingest(pdf(["Apples are red.", "Bananas are yellow."]), "fruit.pdf")
    library.ingest(f"# Fruit\n\n{passages(3)}\n\n## Citrus\n\nLemons are sour. {passages(3)}", "fruit.md")

    assert library.search("yellow bananas").hits[0].page == 2
    assert library.search("sour lemons").hits[0].section == "Fruit > Citrus"


def test_progress_is_told_for_every_ten_chunks_up_to_the_last(library):
    upload = library.upload(passages(400))
    reports = RecordedReports(library, upload)
    library.documents._ingestion.get().run(reports.context, reports.uploaded)

    counted = [report for report in reports.seen if report["total"] is not None]
    total = len(library.chunks(upload))
    currents = [report["current"] for report in counted]
    assert total > 128
    assert {report["total"] for report in counted} == {total}
    assert currents[-1] == total
    assert max(b - a for a, b in zip([0, *currents], currents, strict=False)) <= 10


def test_final_progress_is_kept_with_the_job(library):
    upload, result = library.ingest(passages(30))

    assert library.job(upload)["progress"] == {
        "current": result["chunks"],
        "total": result["chunks"],
        "message": "indexing",
    }


def test_only_the_active_upload_is_stored(library):
    library.ingest("one")
    second, _ = library.ingest("two")

    assert library.blobs() == [second.key]
    assert library.row(second).storage_key == second.key


class RecordedReports:
    """A claimed attempt of the upload's job that remembers every report of its progress."""

    def __init__(self, library, upload):
        with library.holdfast.database.session() as session:
            claim = claim_job(session, upload.job_id)
        self.seen = []
        running = RunningAttempt(claim)
        running.report = self.seen.append
        self.context = JobContext(running, library.holdfast.database)
        args = claim.args
        generation = Generation(upload.document_id, args["generation"])
        self.uploaded = Uploaded(generation, upload.key, bytes.fromhex(args["sha256"]), args["size"])
