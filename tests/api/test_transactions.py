"""`Owner` and `Session` in a user's own application."""

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from sqlalchemy import func, select, text

from factories import make_owner
from holdfast.api import Owner, Session, attach, get_jobs_router
from holdfast.jobs.accepted import JobAccepted
from holdfast.jobs.context import JobContext
from holdfast.jobs.models import Job
from problem_checks import assert_problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def app(holdfast):
    """A user's application with a task, and endpoints that enqueue it and then do well or badly."""

    @holdfast.task
    def summarize(job: JobContext, text: str) -> str:
        return text

    app = FastAPI()
    attach(app, holdfast)
    app.include_router(get_jobs_router())

    @app.post("/summaries", status_code=202)
    async def create(owner: Owner, session: Session, text: str) -> JobAccepted:
        return await summarize.enqueue(session, owner=owner, text=text)

    @app.post("/refused", status_code=202)
    async def refuse(owner: Owner, session: Session) -> JobAccepted:
        await summarize.enqueue(session, owner=owner, text="")
        raise HTTPException(409, "Not now.")

    @app.post("/unanswerable", status_code=202)
    async def answer_wrongly(owner: Owner, session: Session) -> JobAccepted:
        await summarize.enqueue(session, owner=owner, text="")
        return "not a JobAccepted"

    @app.post("/lost", status_code=202)
    async def lose_connection(owner: Owner, session: Session) -> JobAccepted:
        accepted = await summarize.enqueue(session, owner=owner, text="")
        await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return accepted

    return app


class RowsAtResponse:
    """Counts jobs, on another connection, at the moment the response begins."""

    def __init__(self, app, session):
        self.app, self.session, self.count = app, session, None

    async def __call__(self, scope, receive, send):
        async def counting(message):
            if message["type"] == "http.response.start":
                self.count = count_jobs(self.session)
            await send(message)

        await self.app(scope, receive, counting)


def count_jobs(session):
    session.rollback()
    return session.scalar(select(func.count()).select_from(Job))


@pytest.fixture
async def post(app, holdfast, session):
    token = make_owner(session)[1]
    watched = RowsAtResponse(app, session)

    async def post(path, **params):
        transport = httpx.ASGITransport(watched, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            response = await client.post(path, params=params, headers={"X-API-Key": token})
        response.extensions["rows"] = watched.count
        return response

    yield post
    await holdfast.database.aclose()


async def test_the_job_is_committed_before_the_response_begins(post):
    response = await post("/summaries", text="kelp")
    assert response.status_code == 202
    assert response.extensions["rows"] == 1
    assert response.json()["urls"] == {"job": f"/v1/jobs/{response.json()['job_id']}"}


async def test_an_endpoint_that_raises_leaves_no_job(post, session):
    assert_problem(await post("/refused"), 409, "http_409")
    assert count_jobs(session) == 0


async def test_a_response_that_cannot_be_written_leaves_no_job(post, session):
    assert_problem(await post("/unanswerable"), 500, "internal_error")
    assert count_jobs(session) == 0


async def test_a_database_lost_in_the_middle_is_503_and_leaves_no_job(post, session):
    response = await post("/lost")
    assert assert_problem(response, 503, "database_unavailable")["retryable"] is True
    assert count_jobs(session) == 0
    assert (await post("/summaries", text="kelp")).status_code == 202


async def test_a_full_pool_is_503(post, holdfast, monkeypatch):
    engine = holdfast.database.async_engine
    monkeypatch.setattr(engine.pool, "_timeout", 0.05)
    taken = [await engine.connect() for _ in range(holdfast.settings.database_pool_size)]
    try:
        assert_problem(await post("/summaries", text="kelp"), 503, "database_unavailable")
    finally:
        for connection in taken:
            await connection.close()
