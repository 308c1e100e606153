import logging
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from databases import named
from holdfast import Holdfast
from holdfast.api import attach, create_app
from holdfast.errors import ConfigurationError, DocumentError, InvalidArguments, ProviderError
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


async def test_an_unknown_route_is_a_problem(client):
    assert_problem(await client.get("/v1/nothing"), 404, "not_found")
    assert_problem(await client.get("/v1/jobs/"), 404, "not_found")


async def test_a_wrong_method_is_a_problem_that_names_the_right_ones(client):
    response = await client.put("/healthz")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET"


async def test_an_invalid_request_lists_what_does_not_fit_and_echoes_nothing(client):
    response = await client.post("/v1/search", json={"query": 7, "colection": "Kelp", "limit": "many-secret"})
    body = assert_problem(response, 422, "invalid_request")
    assert sorted(item["location"] for item in body["errors"]) == [
        ["body", "colection"],
        ["body", "limit"],
        ["body", "query"],
    ]
    assert "many-secret" not in response.text
    assert "Kelp" not in response.text


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[1, 2", b"nul"])
async def test_broken_json_is_a_problem(client, body):
    response = await client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert_problem(response, response.status_code, response.json()["code"])


async def test_a_huge_json_body_is_refused_before_it_is_whole(client):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1 << 16
            yield b" " * (1 << 16)

    response = await client.post(
        "/v1/search", content=endless(), headers={"Content-Type": "application/json"}
    )
    assert_problem(response, 413, "body_too_large")
    assert sent < 2_000_000


def failing_app(holdfast, error):
    app = FastAPI()
    attach(app, holdfast)

    @app.get("/fail")
    async def fail():
        raise error

    return app


async def fetch(app, path="/fail", **kwargs):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        return await client.get(path, **kwargs)


@pytest.mark.parametrize("error", [ZeroDivisionError("private"), ConfigurationError("private")])
async def test_an_unforeseen_error_is_a_problem_that_tells_nothing(holdfast, error, caplog):
    response = await fetch(failing_app(holdfast, error), headers={"X-Request-ID": "mine-1"})
    body = assert_problem(response, 500, "internal_error")
    assert body["request_id"] == "mine-1"
    assert "private" not in response.text
    assert any(
        "mine-1" in record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR
    )


@pytest.mark.parametrize(
    ("error", "status", "code", "retryable"),
    [
        (InvalidArguments("no"), 422, "invalid_arguments", False),
        (DocumentError("no", code="empty", stage="read"), 422, "empty", False),
        (DocumentError("no", code="odd", stage="read"), 422, "odd", False),
        (ProviderError("no", retryable=False), 502, "provider_error", False),
        (ProviderError("no", retryable=True, retry_after=timedelta(seconds=7)), 503, "provider_error", True),
    ],
)
async def test_holdfasts_own_errors_are_problems(holdfast, error, status, code, retryable):
    response = await fetch(failing_app(holdfast, error))
    assert assert_problem(response, status, code)["retryable"] is retryable
    if error.__class__ is ProviderError and retryable:
        assert response.headers["Retry-After"] == "7"


async def test_a_database_that_is_away_is_a_problem_to_be_retried(settings, engines, key):
    away = settings.model_copy(update={"database_url": named(engines.database_url, "no_such_database")})
    app = create_app(Holdfast(away))
    async with app.router.lifespan_context(app):
        response = await fetch(app, "/v1/jobs", headers={"X-API-Key": key[1]})
        assert assert_problem(response, 503, "database_unavailable")["retryable"] is True
        assert int(response.headers["Retry-After"]) > 0
        assert_problem(await fetch(app, "/readyz"), 503, "database_unavailable")
        assert (await fetch(app, "/healthz")).json() == {"status": "ok"}


async def test_readiness_does_not_need_redis(anonymous, settings):
    assert (await anonymous.get("/readyz")).json() == {"status": "ready", "database": "ok", "redis": "ok"}
    without_redis = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    app = create_app(Holdfast(without_redis))
    async with app.router.lifespan_context(app):
        response = await fetch(app, "/readyz")
    assert response.json() == {"status": "ready", "database": "ok", "redis": "unreachable"}


async def test_readiness_needs_the_tables(settings, empty_database_url):
    empty = settings.model_copy(update={"database_url": empty_database_url})
    app = create_app(Holdfast(empty))
    async with app.router.lifespan_context(app):
        response = await fetch(app, "/readyz")
    assert "holdfast migrate" in assert_problem(response, 503, "database_unavailable")["detail"]


async def test_a_request_id_is_kept_when_it_is_sane_and_made_otherwise(anonymous):
    assert (await anonymous.get("/healthz", headers={"X-Request-ID": "a.b-1"})).headers[
        "X-Request-ID"
    ] == "a.b-1"
    for insane in ("", "x" * 101, "a b", "<script>", "caf\u00e9"):
        response = await anonymous.get("/healthz", headers={"X-Request-ID": insane.encode("latin-1")})
        made = response.headers["X-Request-ID"]
        assert made != insane
        assert len(made) == 24
    assert len({(await anonymous.get("/healthz")).headers["X-Request-ID"] for _ in range(5)}) == 5


async def test_requests_are_logged_with_their_id_and_without_their_query(anonymous, caplog):
    caplog.set_level(logging.INFO, logger="holdfast.access")
    await anonymous.get("/no%0Asuch?secret=1", headers={"X-Request-ID": "find-me"})
    [line] = [record.getMessage() for record in caplog.records if record.name == "holdfast.access"]
    assert line.startswith("GET /no%0Asuch 404 ")
    assert line.endswith("request=find-me")
