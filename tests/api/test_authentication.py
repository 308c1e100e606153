from datetime import timedelta

import pytest

import multipart_forms as forms
from factories import make_owner, queue_job
from holdfast.api.known_keys import KnownKeys
from holdfast.jobs.ids import new_id
from holdfast.jobs.keys import Owner, create_key, revoke_key
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio

PATHS = [
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80"),
    ("GET", "/v1/jobs/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80/attempts"),
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80/cancel"),
    ("POST", "/v1/jobs/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80/retry"),
    ("GET", "/v1/jobs/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80/events"),
    ("GET", "/v1/events"),
    ("POST", "/v1/batches"),
    ("GET", "/v1/batches"),
    ("GET", "/v1/batches/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80"),
    ("POST", "/v1/batches/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80/cancel"),
    ("GET", "/v1/queues"),
    ("POST", "/v1/queues/default/pause"),
    ("POST", "/v1/queues/default/resume"),
    ("GET", "/v1/workers"),
    ("POST", "/v1/webhooks"),
    ("GET", "/v1/webhooks"),
    ("POST", "/v1/webhooks/secret"),
    ("GET", "/v1/webhooks/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80"),
    ("PATCH", "/v1/webhooks/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80"),
    ("DELETE", "/v1/webhooks/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80"),
    ("POST", "/v1/webhooks/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80/rotate"),
    ("POST", "/v1/webhooks/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80/enable"),
    ("POST", "/v1/webhooks/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80/disable"),
    ("POST", "/v1/webhooks/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80/ping"),
    ("GET", "/v1/notifications"),
    ("GET", "/v1/notifications/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80"),
    ("POST", "/v1/notifications/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80/redeliver"),
    ("POST", "/v1/documents/ingest"),
    ("GET", "/v1/documents"),
    ("GET", "/v1/documents/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80"),
    ("DELETE", "/v1/documents/01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80"),
    ("GET", "/v1/collections"),
    ("DELETE", "/v1/collections/default"),
    ("POST", "/v1/search"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_every_route_needs_a_key(anonymous, method, path):
    response = await anonymous.request(method, path, json={"query": "kelp"} if "search" in path else None)
    assert_problem(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_every_route_but_the_health_checks_is_in_the_list_above(app):
    paths = {
        (method.upper(), path) for path, operations in app.openapi()["paths"].items() for method in operations
    }
    kept = {(method, path) for method, path in paths if path not in ("/healthz", "/readyz")}
    assert len(kept) == len(PATHS)


async def test_a_key_is_taken_from_either_header(anonymous, key):
    assert (await anonymous.get("/v1/jobs", headers={"X-API-Key": key[1]})).status_code == 200
    assert (await anonymous.get("/v1/jobs", headers={"Authorization": f"Bearer {key[1]}"})).status_code == 200
    assert (await anonymous.get("/v1/jobs", headers={"Authorization": f"bearer {key[1]}"})).status_code == 200


@pytest.mark.parametrize(
    "token", ["", "hf_", "hf_12345678_wrong", "x" * 10_000, "hf_\u00e9\u00e9", "hf_00000000_"]
)
async def test_a_key_that_is_not_one_is_refused(anonymous, token):
    response = await anonymous.get("/v1/jobs", headers={"X-API-Key": token.encode("latin-1")})
    assert_problem(response, 401, "unauthenticated")


async def test_the_right_prefix_with_a_wrong_secret_is_refused(anonymous, key):
    response = await anonymous.get("/v1/jobs", headers={"X-API-Key": key[1][:-1] + "~"})
    assert_problem(response, 401, "unauthenticated")
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


async def test_an_expired_key_is_refused(anonymous, session):
    _, token = create_key(session, "old", expires_in=timedelta(seconds=-1))
    session.commit()
    assert_problem(await anonymous.get("/v1/jobs", headers={"X-API-Key": token}), 401, "unauthenticated")


async def test_a_revoked_key_is_refused_once_it_is_no_longer_believed(app, client, session, owner, key):
    assert (await client.get("/v1/jobs")).status_code == 200
    assert revoke_key(session, key[1][3:11])
    session.commit()
    app.state.holdfast.known_keys._owners.clear()  # what five seconds do
    assert_problem(await client.get("/v1/jobs"), 401, "unauthenticated")


async def test_a_known_key_needs_no_query(app, client, session, key):
    await client.get("/v1/jobs")
    assert app.state.holdfast.known_keys.find(key[1]).name == "usual"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_key_is_believed_for_its_time_and_no_longer():
    clock, owner = Clock(), Owner(new_id(), "someone")
    known = KnownKeys(ttl_seconds=5, clock=clock)
    known.remember("token", owner)
    clock.now = 4.9
    assert known.find("token") == owner
    clock.now = 5.0
    assert known.find("token") is None


def test_only_so_many_keys_are_remembered():
    known = KnownKeys(size=3)
    for number in range(5):
        known.remember(f"token {number}", Owner(new_id(), str(number)))
    assert [known.find(f"token {number}") is not None for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


async def test_two_keys_do_not_share_jobs(client, stranger, session, owner):
    job_id = queue_job(session, owner_id=owner.id)
    assert [job["id"] for job in (await client.get("/v1/jobs")).json()["data"]] == [str(job_id)]
    assert (await stranger.get("/v1/jobs")).json()["data"] == []
    assert make_owner(session)[0].id != owner.id


async def test_no_cache_may_give_one_keys_answers_to_another(client):
    body = forms.form(forms.file("kelp.txt", b"Kelp anchors itself.\n"))
    urls = (await client.post("/v1/documents/ingest", content=body, headers=forms.HEADERS)).json()["urls"]
    lists = ("/v1/jobs", "/v1/documents", "/v1/collections", f"{urls['job']}/attempts")
    for url in (*urls.values(), *lists):
        response = await client.get(url)
        assert response.headers["Cache-Control"] == "private, no-cache", url
    etag = (await client.get(urls["job"])).headers["ETag"]
    unchanged = await client.get(urls["job"], headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.headers["Cache-Control"]) == (304, "private, no-cache")
    assert (await client.get("/v1/documents/kelp")).headers["Cache-Control"] == "no-store"
