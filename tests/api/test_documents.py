import pytest

import multipart_forms as forms
from holdfast.jobs.ids import new_id
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio


async def ingest(client, name="kelp.txt", collection="default"):
    body = forms.form(forms.field("collection", collection), forms.file(name, b"Kelp anchors itself.\n"))
    response = await client.post("/v1/documents/ingest", content=body, headers=forms.HEADERS)
    assert response.status_code == 202, response.text
    return response.json()


async def test_a_document_tells_what_became_of_its_upload(client):
    accepted = await ingest(client)
    document = (await client.get(accepted["urls"]["document"])).json()
    assert document["id"] == accepted["document_id"]
    assert document["job_id"] == accepted["job_id"]
    assert document["status"] == "queued"
    assert document["is_searchable"] is False


async def test_another_owners_documents_and_collections_are_not_seen(client, stranger):
    url = (await ingest(client, collection="sea"))["urls"]["document"]
    assert_problem(await stranger.get(url), 404, "document_not_found")
    assert_problem(await stranger.delete(url), 404, "document_not_found")
    assert_problem(await stranger.delete("/v1/collections/sea"), 404, "collection_not_found")
    search = await stranger.post("/v1/search", json={"query": "kelp", "collection": "sea"})
    assert_problem(search, 404, "collection_not_found")
    assert (await stranger.get("/v1/documents")).json()["data"] == []
    assert (await stranger.get("/v1/collections")).json()["data"] == []
    assert (await client.get(url)).status_code == 200


async def test_a_deleted_document_is_gone(client, uploads):
    url = (await ingest(client))["urls"]["document"]
    response = await client.delete(url)
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await client.get(url), 404, "document_not_found")
    assert_problem(await client.delete(url), 404, "document_not_found")
    assert [path for path in uploads.rglob("*") if path.is_file()] == []


async def test_a_deleted_collection_is_gone_with_its_documents(client):
    url = (await ingest(client, collection="sea"))["urls"]["document"]
    other = (await ingest(client, collection="land"))["urls"]["document"]
    assert (await client.delete("/v1/collections/sea")).status_code == 204
    assert_problem(await client.get(url), 404, "document_not_found")
    assert (await client.get(other)).status_code == 200
    assert_problem(await client.delete("/v1/collections/sea"), 404, "collection_not_found")


async def test_pages_of_documents_cover_each_once(client):
    newest_first = [(await ingest(client, f"{n}.txt"))["document_id"] for n in range(5)][::-1]
    await ingest(client, collection="other")
    seen, before = [], {}
    while True:
        params = {"limit": 2, "collection": "default", **before}
        page = (await client.get("/v1/documents", params=params)).json()
        seen += [document["id"] for document in page["data"]]
        if not page["has_more"]:
            break
        before = {"before": page["last_id"]}
    assert seen == newest_first


async def test_collections_are_listed_by_name(client):
    for name in ("sea", "land"):
        await ingest(client, collection=name)
    found = (await client.get("/v1/collections")).json()["data"]
    assert [(one["name"], one["documents"], one["chunks"]) for one in found] == [
        ("land", 0, 0),
        ("sea", 0, 0),
    ]


async def test_a_search_says_how_it_ranked(client):
    await ingest(client)
    response = await client.post("/v1/search", json={"query": "kelp"})
    assert response.json() == {"mode": "lexical", "data": []}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": " \n"},
        {"query": "k" * 5000},
        {"query": "a\x00b"},
        {"query": "kelp", "limit": 0},
        {"query": "kelp", "limit": 101},
        {"query": "kelp", "collection": "Sea"},
        {"query": "kelp", "colection": "sea"},
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(client, body):
    assert_problem(await client.post("/v1/search", json=body), 422, "invalid_request")


@pytest.mark.parametrize("name", ["%00", "Sea", "a" * 64])
async def test_a_name_no_collection_can_have_is_refused(client, name):
    assert_problem(await client.delete(f"/v1/collections/{name}"), 422, "invalid_request")
    response = await client.get(f"/v1/documents?collection={name}")
    assert_problem(response, 422, "invalid_request")


async def test_an_unknown_document_is_not_found(client):
    assert_problem(await client.get(f"/v1/documents/{new_id()}"), 404, "document_not_found")
    assert_problem(await client.get("/v1/documents/kelp"), 422, "invalid_request")
