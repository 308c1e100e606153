"""Signing in and out, the two roles, and what pages of other sites can do: nothing."""

from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from dashboard_visits import ASKING, browser_of, sign_in
from factories import queue_job
from holdfast.jobs import keys
from holdfast.jobs.models import Job, SignIn
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio

JOB = UUID(int=1)
CHANGES = [
    ("GET", f"/dashboard/api/jobs/{JOB}/arguments"),
    ("POST", f"/dashboard/api/jobs/{JOB}/cancel"),
    ("POST", f"/dashboard/api/jobs/{JOB}/retry"),
    ("POST", "/dashboard/api/failures/retry"),
    ("POST", "/dashboard/api/queues/default/pause"),
    ("POST", "/dashboard/api/queues/default/resume"),
    ("POST", "/dashboard/api/keys"),
    ("DELETE", "/dashboard/api/keys/hf_00000000"),
    ("POST", "/dashboard/api/documents"),
    ("DELETE", f"/dashboard/api/documents/{JOB}"),
]
LOOKS = [
    "overview",
    "jobs",
    f"jobs/{JOB}",
    "failures",
    "queues",
    "workers",
    "keys",
    "documents",
    "collections",
]


async def test_a_key_with_the_scope_signs_in_and_out(browser, admin_key):
    assert (await browser.get("/dashboard/api/session")).json() == {"name": None}
    response = await sign_in(browser, admin_key[1])
    assert response.json() == {"name": "operator", "role": "admin", "has_documents": True}
    cookie = response.headers["Set-Cookie"]
    for said in ("HttpOnly", "SameSite=strict", "Path=/dashboard", "Max-Age=43200"):
        assert said in cookie
    assert admin_key[1] not in cookie
    assert (await browser.get("/dashboard/api/overview")).status_code == 200

    kept = browser.cookies["holdfast_session"]
    assert (await browser.delete("/dashboard/api/session")).status_code == 204
    browser.cookies.set("holdfast_session", kept)
    assert_problem(await browser.get("/dashboard/api/overview"), 401, "unauthenticated")


async def test_the_cookie_is_for_encrypted_connections_where_the_page_is(browser, admin_key):
    browser.base_url = "https://dashboard.test"
    browser.headers["Origin"] = "https://dashboard.test"
    assert "Secure" in (await sign_in(browser, admin_key[1])).headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["hf_00000000_nothing", "", "kelp \0", "kölp", "k" * 10_000])
async def test_what_is_no_valid_key_is_refused(browser, token):
    response = await browser.post("/dashboard/api/session", json={"key": token})
    assert_problem(response, 401, "unauthenticated")
    assert "Set-Cookie" not in response.headers


async def test_a_key_without_a_role_is_refused(browser, make_key):
    response = await browser.post("/dashboard/api/session", json={"key": make_key("usual")[1]})
    assert_problem(response, 403, "forbidden")


async def test_a_revoked_key_is_signed_out_everywhere_at_once(admin_browser, admin_key, session):
    keys.revoke_key(session, admin_key[1][3:11])
    session.commit()
    assert_problem(await admin_browser.get("/dashboard/api/overview"), 401, "unauthenticated")


async def test_a_sign_in_ends_and_is_removed(admin_browser, app, session, make_key):
    session.execute(update(SignIn).values(expires_at=func.now()))
    session.commit()
    assert_problem(await admin_browser.get("/dashboard/api/overview"), 401, "unauthenticated")
    async with browser_of(app) as another:
        await sign_in(another, make_key("another", "viewer")[1])
    assert session.scalar(select(func.count()).select_from(SignIn)) == 1


@pytest.mark.parametrize("path", LOOKS)
async def test_nothing_is_shown_to_who_is_not_signed_in(browser, path):
    assert_problem(await browser.get(f"/dashboard/api/{path}"), 401, "unauthenticated")


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_nothing_can_be_changed_by_who_is_not_signed_in(browser, method, path):
    assert_problem(await browser.request(method, path), 401, "unauthenticated")


@pytest.mark.parametrize("path", [look for look in LOOKS if str(JOB) not in look])
async def test_a_viewer_sees_everything(viewer_browser, path):
    assert (await viewer_browser.get(f"/dashboard/api/{path}")).status_code == 200


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_viewer_changes_nothing_and_sees_no_arguments(viewer_browser, method, path):
    assert_problem(await viewer_browser.request(method, path, json={}), 403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.test"},
        {"Origin": "http://dashboard.test.elsewhere.test"},
        {"Origin": "null"},
        {"Origin": None},
        {"X-Holdfast-Dashboard": None},
    ],
)
async def test_a_page_of_another_site_cannot_change_anything(admin_browser, session, headers):
    job_id = queue_job(session)
    for name, value in headers.items():
        del admin_browser.headers[name]
        if value is not None:
            admin_browser.headers[name] = value
    response = await admin_browser.post(f"/dashboard/api/jobs/{job_id}/cancel")
    assert_problem(response, 403, "forbidden")
    session.rollback()
    assert session.get(Job, job_id).status == "queued"


async def test_a_page_of_another_site_cannot_sign_a_browser_in(browser, admin_key):
    browser.headers["Origin"] = "http://elsewhere.test"
    response = await browser.post("/dashboard/api/session", json={"key": admin_key[1]})
    assert_problem(response, 403, "forbidden")


async def test_no_other_site_is_told_that_it_may_ask(browser):
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-holdfast-dashboard",
    }
    response = await browser.request("OPTIONS", "/dashboard/api/session", headers=asked)
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_the_api_does_not_take_the_cookie(admin_browser):
    assert_problem(await admin_browser.get("/v1/jobs"), 401, "unauthenticated")
    secret = admin_browser.cookies["holdfast_session"]
    response = await admin_browser.get("/v1/jobs", headers={"X-API-Key": secret})
    assert_problem(response, 401, "unauthenticated")


async def test_the_dashboard_does_not_take_a_key_in_a_header(browser, admin_key):
    response = await browser.get("/dashboard/api/overview", headers={**ASKING, "X-API-Key": admin_key[1]})
    assert_problem(response, 401, "unauthenticated")
