"""Keys: seen with what they are used for, made, shown once, ended."""

import pytest

from factories import queue_job
from holdfast.jobs import keys as all_keys
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio

KEYS = "/dashboard/api/keys"


async def test_keys_are_listed_with_what_they_are_used_for(admin_browser, session, make_key):
    owner, token = make_key("busy")
    for _ in range(2):
        queue_job(session, owner_id=owner.id)
    response = await admin_browser.get(KEYS)
    busy, operator = response.json()["data"]
    assert (busy["name"], busy["jobs"], busy["prefix"]) == ("busy", 2, token[3:11])
    assert busy["last_job_at"] is not None
    assert (operator["name"], operator["scopes"], operator["jobs"]) == ("operator", ["admin"], 0)
    assert token not in response.text


async def test_a_new_key_is_shown_once_and_works(admin_browser, session):
    body = {"name": "<b>new</b>", "scopes": ["viewer"], "expires_in_days": 7}
    made = (await admin_browser.post(KEYS, json=body)).json()
    owner = all_keys.find_owner(session, made["token"])
    assert (owner.name, owner.scopes) == ("<b>new</b>", ("viewer",))
    assert made["token"] not in (await admin_browser.get(KEYS)).text


@pytest.mark.parametrize(
    "body",
    [{"name": " "}, {"name": "a\0b"}, {"name": "a", "scopes": ["root"]}, {"name": "a", "expires_in_days": 0}],
)
async def test_a_key_that_cannot_be_is_refused(admin_browser, body):
    assert_problem(await admin_browser.post(KEYS, json=body), 422, "invalid_request")


async def test_a_key_is_revoked(admin_browser, session, make_key):
    token = make_key("old")[1]
    assert (await admin_browser.delete(f"{KEYS}/{token[:11]}")).status_code == 204
    assert all_keys.find_owner(session, token) is None
    assert_problem(await admin_browser.delete(f"{KEYS}/{token[:11]}"), 404, "not_found")
