"""The page and its files: what they may load, and that there is nothing to be had besides."""

import re
from importlib.resources import files

import pytest

from problem_checks import assert_problem

pytestmark = pytest.mark.anyio

STATIC = files("holdfast.dashboard").joinpath("static")
FILES = sorted(entry.name for entry in STATIC.iterdir())


@pytest.mark.parametrize(
    "path", ["", "/jobs", "/jobs/some-id", "/failures", "/queues", "/documents", "/keys"]
)
async def test_every_address_is_the_one_page_with_a_strict_policy(browser, path):
    response = await browser.get(f"/dashboard{path}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in " ".join(policy)
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_has_no_script_and_no_style_of_its_own(browser):
    page = (await browser.get("/dashboard")).text
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    assert re.findall(r"<style|\bstyle=|\bon\w+=|javascript:", page) == []


@pytest.mark.parametrize("name", FILES)
async def test_files_load_nothing_from_elsewhere(browser, name):
    response = await browser.get(f"/dashboard/static/{name}")
    assert response.status_code == 200
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    named = re.findall(r"https?://[^\s\"'`)]+", response.text)
    assert [url for url in named if url != "http://www.w3.org/2000/svg"] == []


async def test_a_file_that_is_known_is_not_sent_again(browser):
    first = await browser.get("/dashboard/static/app.js")
    again = await browser.get("/dashboard/static/app.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["__init__.py", "..%2fpages.py", "nothing.js"])
async def test_other_files_are_not_served(browser, name):
    assert_problem(await browser.get(f"/dashboard/static/{name}"), 404, "not_found")


async def test_what_the_dashboard_has_not_got_is_a_problem(admin_browser):
    assert_problem(await admin_browser.get("/dashboard/api/nothing"), 404, "not_found")


async def test_the_dashboard_is_no_part_of_the_described_api(browser):
    paths = (await browser.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if path.startswith("/dashboard")]
