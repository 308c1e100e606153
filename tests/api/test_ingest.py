import hashlib

import httpx
import pytest
from sqlalchemy import func, select, text

import document_files
import multipart_forms as forms
from factories import job_row
from holdfast import Holdfast
from holdfast.ai import HashingEmbedder
from holdfast.api import create_app
from holdfast.api.file_names import clean_name
from holdfast.api.problems import Refused
from holdfast.documents.backend import Documents
from holdfast.documents.models import Collection, Document
from holdfast.documents.storage import UploadStore
from holdfast.jobs.models import Job
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio

TEXT = b"Holdfasts anchor kelp to rock.\n" * 20


def stored(uploads):
    """Every file under the store, finished or not."""
    return [path for path in uploads.rglob("*") if path.is_file()]


def nothing_happened(session, uploads):
    session.rollback()
    counts = [
        session.scalar(select(func.count()).select_from(table)) for table in (Job, Document, Collection)
    ]
    return counts == [0, 0, 0] and stored(uploads) == []


async def ingest(client, body, headers=forms.HEADERS):
    return await client.post("/v1/documents/ingest", content=body, headers=headers)


async def test_an_upload_is_accepted_and_stored(client, session, uploads):
    response = await client.post(
        "/v1/documents/ingest", files={"file": ("kelp.txt", TEXT)}, data={"collection": "sea"}
    )
    assert response.status_code == 202, response.text
    body = response.json()
    job_url, document_url = f"/v1/jobs/{body['job_id']}", f"/v1/documents/{body['document_id']}"
    assert body["status"] == "queued"
    assert body["urls"] == {"job": job_url, "document": document_url}
    assert response.headers["Location"] == job_url
    assert response.headers["Retry-After"] == "1"
    assert (await client.get(job_url)).json()["task"] == "ingest_document"
    document = (await client.get(document_url)).json()
    assert (document["name"], document["collection"]) == ("kelp.txt", "sea")
    [path] = stored(uploads)
    assert path.read_bytes() == TEXT
    args = job_row(session, body["job_id"])["args"]
    assert args["sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert args["size"] == len(TEXT)


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
async def test_fields_may_come_in_any_order_and_any_pieces(client, uploads, size):
    file, field = forms.file("kelp.txt", TEXT), forms.field("collection", "sea")
    for parts in ((file, field), (field, file)):
        response = await ingest(client, forms.in_pieces(forms.form(*parts), size))
        assert response.status_code == 202, response.text
    assert [path.read_bytes() for path in stored(uploads)] == [TEXT, TEXT]
    names = [collection["name"] for collection in (await client.get("/v1/collections")).json()["data"]]
    assert names == ["sea"]


async def test_the_collection_is_default_unless_named(client):
    await ingest(client, forms.form(forms.file("kelp.txt", TEXT)))
    assert (await client.get("/v1/documents")).json()["data"][0]["collection"] == "default"


async def test_form_says_whom_to_notify(client, session):
    notify = '{"webhook": {"url": "https://hooks.example.org/in"}}'
    parts = forms.file("kelp.txt", TEXT), forms.field("notify", notify)
    accepted = await ingest(client, forms.form(*parts))
    row = job_row(session, accepted.json()["job_id"])
    assert row["notify"] == {"webhook": {"url": "https://hooks.example.org/in"}}


@pytest.mark.parametrize(
    ("notify", "code"),
    [("[1]", "invalid_field"), ("{", "invalid_field"), ('{"pigeon": "coop"}', "invalid_arguments")],
)
async def test_form_that_names_nobody_who_can_be_told_is_refused(client, session, uploads, notify, code):
    refused = await ingest(client, forms.form(forms.file("kelp.txt", TEXT), forms.field("notify", notify)))
    assert_problem(refused, 422, code)
    assert nothing_happened(session, uploads)


async def test_content_that_looks_like_a_boundary_is_content(client, uploads):
    almost = b"\r\n--kelp-boundar\r\n--kelp\r\n\r\n-\r--" + TEXT + b"\r\n--kelp-boundarX"
    for size in (1, 3, 1 << 20):
        body = forms.form(forms.file("kelp.txt", almost))
        assert (await ingest(client, forms.in_pieces(body, size))).status_code == 202
    assert {path.read_bytes() for path in stored(uploads)} == {almost}


FILE = forms.file("kelp.txt", TEXT)
REFUSED = {
    "no file": (forms.form(forms.field("collection", "sea")), 422, "missing_file"),
    "no part at all": (forms.end(), 422, "missing_file"),
    "a field for a file": (forms.form(forms.field("file", "text")), 422, "missing_file"),
    "an empty file": (forms.form(forms.file("kelp.txt", b"")), 422, "empty"),
    "a file without a name": (forms.form(forms.file("", TEXT)), 422, "invalid_file_name"),
    "a name of dots": (forms.form(forms.file("../..", TEXT)), 422, "invalid_file_name"),
    "an unknown suffix": (forms.form(forms.file("kelp.exe", TEXT)), 415, "unsupported_type"),
    "an unknown content": (
        forms.form(forms.file("kelp.txt", bytes(range(256)) * 40)),
        415,
        "unsupported_type",
    ),
    "two files": (forms.form(FILE, FILE), 422, "several_files"),
    "two collections": (
        forms.form(forms.field("collection", "a"), forms.field("collection", "b"), FILE),
        422,
        "invalid_field",
    ),
    "an unknown field": (forms.form(forms.field("colection", "sea"), FILE), 422, "invalid_field"),
    "an endless field": (forms.form(forms.field("collection", "a" * 50_000), FILE), 422, "invalid_field"),
    "a bad field after the file": (forms.form(FILE, forms.field("collection", "Sea")), 422, "invalid_field"),
    "another file field": (forms.form(forms.file("a.txt", TEXT, "attachment")), 422, "invalid_field"),
    "no closing boundary": (FILE, 400, "malformed_body"),
    "cut off in the file": (FILE[: len(FILE) // 2], 400, "malformed_body"),
    "cut off in a later field": (FILE + forms.field("collection", "sea")[:60], 400, "malformed_body"),
    "garbage": (b"\x00\xff garbage \r\n" * 50, 400, "malformed_body"),
    "nothing": (b"", 400, "malformed_body"),
    "a part without a name": (forms.form(forms.part('filename="a.txt"', TEXT)), 400, "malformed_body"),
    "a name too long": (forms.form(forms.file("k" * 10_000 + ".txt", TEXT)), 400, "malformed_body"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("size", [11, 1 << 20])
async def test_a_form_that_cannot_be_taken_leaves_nothing(client, session, uploads, case, size):
    body, status, code = REFUSED[case]
    response = await ingest(client, forms.in_pieces(body, size))
    assert_problem(response, status, code)
    assert nothing_happened(session, uploads)


@pytest.mark.parametrize(
    "name", ["Sea", "", "-sea", "a" * 64, "a/b", "../sea", "se\x00a", "sea\n", "s\u00e9a"]
)
async def test_a_bad_collection_name_is_refused(client, session, uploads, name):
    response = await ingest(client, forms.form(forms.field("collection", name), FILE))
    assert_problem(response, 422, "invalid_field")
    assert nothing_happened(session, uploads)


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        (None, 415, "unsupported_media_type"),
        ("application/json", 415, "unsupported_media_type"),
        ("multipart/form-data", 400, "malformed_body"),
        ("multipart/form-data; boundary=", 400, "malformed_body"),
        ("multipart/form-data; boundary=" + "b" * 500, 400, "malformed_body"),
    ],
)
async def test_a_body_that_is_no_form_is_refused(client, session, uploads, content_type, status, code):
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await ingest(client, forms.form(FILE), headers)
    assert_problem(response, status, code)
    assert response.headers["Connection"] == "close"
    assert nothing_happened(session, uploads)


async def test_an_upload_over_the_limit_is_refused_while_it_streams(client, session, uploads, holdfast):
    holdfast.settings.max_upload_mb = 0.3
    sent = 0

    async def endless():
        nonlocal sent
        yield FILE[:200]
        while True:
            sent += 1 << 16
            yield b"k" * (1 << 16)

    response = await ingest(client, endless())
    assert_problem(response, 413, "upload_too_large")
    assert response.headers["Connection"] == "close"
    assert sent < 600_000
    assert nothing_happened(session, uploads)


async def test_an_upload_that_says_it_is_over_the_limit_is_not_read(client, session, uploads, holdfast):
    holdfast.settings.max_upload_mb = 0.3

    async def unread():
        raise AssertionError("read")
        yield b""

    headers = forms.HEADERS | {"Content-Length": "1000000"}
    response = await ingest(client, unread(), headers)
    assert_problem(response, 413, "upload_too_large")
    assert response.headers["Connection"] == "close"
    assert nothing_happened(session, uploads)


async def test_an_upload_of_just_the_limit_is_taken(client, holdfast):
    holdfast.settings.max_upload_mb = 0.3
    assert (await ingest(client, forms.form(forms.file("a.txt", b"k" * 300_000)))).status_code == 202
    assert_problem(
        await ingest(client, forms.form(forms.file("a.txt", b"k" * 300_001))), 413, "upload_too_large"
    )


async def test_a_file_that_only_its_reader_can_judge_is_the_jobs_business(client):
    for name, content in (
        ("locked.pdf", document_files.encrypted_pdf()),
        ("broken.pdf", document_files.truncated_pdf()),
        ("liar.pdf", TEXT),
    ):
        assert (await ingest(client, forms.form(forms.file(name, content)))).status_code == 202


async def test_a_database_that_fails_leaves_no_upload(client, session, uploads, admin, holdfast):
    assert (await client.get("/v1/documents")).status_code == 200  # the key is known from here on

    async def database_goes_away():
        yield forms.form(FILE)[:-1]
        name = holdfast.database.async_engine.url.database
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s",
            [name, session.scalar(text("SELECT pg_backend_pid()"))],
        )
        yield b"\n"

    response = await ingest(client, database_goes_away())
    assert_problem(response, 503, "database_unavailable")
    assert nothing_happened(session, uploads)


HOSTILE = {
    "../../etc/passwd.txt": "passwd.txt",
    "/etc/cron.d/x.txt": "x.txt",
    "C:\\temp\\kelp.txt": "kelp.txt",
    "..\\..\\kelp.txt": "kelp.txt",
    "ke\x00lp.txt": "kelp.txt",
    "a\tb\x7f\x85.txt": "ab.txt",
    "annual\u202etxt.exe.txt": "annualtxt.exe.txt",
    "  kelp.txt ": "kelp.txt",
    "cafe\u0301.txt": "caf\u00e9.txt",
    "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627.txt": "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627.txt",
    "k" * 300 + ".txt": "k" * 251 + ".txt",
    "k." + "s" * 300: "k." + "s" * 253,
    "kelp\ud800.txt": "kelp.txt",
}


@pytest.mark.parametrize("given", HOSTILE)
def test_a_hostile_name_is_reduced_to_a_label(given):
    assert clean_name(given) == HOSTILE[given]


@pytest.mark.parametrize("given", ["", ".", "..", "../", "a/", "\x00", " ", "\u202e", "...", ". ."])
def test_a_name_of_which_nothing_remains_is_refused(given):
    with pytest.raises(Refused):
        clean_name(given)


async def test_a_path_in_a_name_touches_nothing(client, uploads, tmp_path):
    before = {path for path in tmp_path.rglob("*") if uploads not in path.parents}
    response = await ingest(client, forms.form(forms.file("../../../kelp.txt", TEXT)))
    assert response.status_code == 202
    assert (await client.get("/v1/documents")).json()["data"][0]["name"] == "kelp.txt"
    after = {path for path in tmp_path.rglob("*") if uploads not in path.parents}
    assert after - before <= {uploads}


async def test_names_are_read_as_utf8(client):
    name = "Seetang \u00e4\u00f6\u00fc \u6d77\u5e26.txt"
    await ingest(client, forms.form(forms.file(name, TEXT)))
    await ingest(client, forms.form(forms.file(b"caf\xe9.txt", TEXT)))
    names = [document["name"] for document in (await client.get("/v1/documents")).json()["data"]]
    assert names == ["caf\ufffd.txt", name]


async def test_a_redis_that_is_away_keeps_no_upload_out(settings, uploads, key, session):
    away = Holdfast(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    documents = Documents(away, storage=UploadStore(uploads.as_uri()), embedder=HashingEmbedder)
    app = create_app(away, documents)
    transport, headers = httpx.ASGITransport(app), {"X-API-Key": key[1]}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client,
    ):
        response = await ingest(client, forms.form(FILE))
        assert response.status_code == 202, response.text
        job = (await client.get(response.json()["urls"]["job"])).json()
    assert job["status"] == "queued"
