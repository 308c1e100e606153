"""Documents of the key that is signed in."""

import pytest

import multipart_forms as forms
from dashboard_visits import browser_of, sign_in
from holdfast.api import create_app
from holdfast.dashboard import add_dashboard
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio


async def test_an_upload_belongs_to_the_key(admin_browser, viewer_browser):
    form = forms.form(forms.file("kelp.txt", b"Kelp grows fast."))
    response = await admin_browser.post("/dashboard/api/documents", content=form, headers=forms.HEADERS)
    assert response.status_code == 202, response.text
    listed = (await admin_browser.get("/dashboard/api/documents")).json()["data"]
    assert [(each["name"], each["status"]) for each in listed] == [("kelp.txt", "queued")]
    assert (await viewer_browser.get("/dashboard/api/documents")).json()["data"] == []
    path = f"/dashboard/api/documents/{listed[0]['id']}"
    assert (await admin_browser.delete(path)).status_code == 204
    assert_problem(await admin_browser.delete(path), 404, "document_not_found")


async def test_an_upload_from_another_site_is_refused_before_it_is_read(admin_browser):
    admin_browser.headers["Origin"] = "http://elsewhere.test"
    form = forms.form(forms.file("kelp.txt", b"Kelp grows fast."))
    response = await admin_browser.post("/dashboard/api/documents", content=form, headers=forms.HEADERS)
    assert_problem(response, 403, "forbidden")


async def test_a_search_without_a_collection_is_told_so(viewer_browser):
    response = await viewer_browser.post("/dashboard/api/search", json={"query": "kelp"})
    assert_problem(response, 404, "collection_not_found")


async def test_an_application_without_documents_says_so(holdfast, admin_key):
    app = add_dashboard(create_app(holdfast))
    async with app.router.lifespan_context(app), browser_of(app) as browser:
        assert (await sign_in(browser, admin_key[1])).json()["has_documents"] is False
