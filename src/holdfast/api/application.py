"""The application that `holdfast api` serves, and what a user's own application needs for the same routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from holdfast.api.batches import get_batches_router
from holdfast.api.documents import get_documents_router
from holdfast.api.events.routes import get_events_router
from holdfast.api.events.serving import let_go_at_shutdown, make_hub
from holdfast.api.gathering import Gathering
from holdfast.api.health import get_health_router
from holdfast.api.jobs import get_jobs_router
from holdfast.api.notifications import get_notifications_router
from holdfast.api.openapi import complete_openapi, tags
from holdfast.api.problems import install_problems
from holdfast.api.queues import get_queues_router
from holdfast.api.request_ids import RequestIds
from holdfast.api.search import get_search_router
from holdfast.api.services import Services
from holdfast.api.webhooks import get_webhooks_router
from holdfast.app import Holdfast
from holdfast.documents.backend import Documents
from holdfast.notify import Notifications


def create_app(
    holdfast: Holdfast, documents: Documents | None = None, notifications: Notifications | None = None
) -> FastAPI:
    """Make the whole API; without documents and notifications, that of the jobs alone."""
    app = FastAPI(
        title="Holdfast",
        summary="Durable background jobs, and documents that can be searched.",
        version=version("holdfast"),
        openapi_tags=tags(documents=documents is not None, notifications=notifications is not None),
        redirect_slashes=False,
    )
    attach(app, holdfast, documents, notifications)
    app.include_router(get_jobs_router())
    app.include_router(get_events_router())
    app.include_router(get_batches_router())
    app.include_router(get_queues_router())
    if notifications is not None:
        app.include_router(get_webhooks_router())
        app.include_router(get_notifications_router())
    if documents is not None:
        app.include_router(get_documents_router())
        app.include_router(get_search_router())
    app.include_router(get_health_router())
    return app


def attach(
    app: FastAPI,
    holdfast: Holdfast,
    documents: Documents | None = None,
    notifications: Notifications | None = None,
) -> None:
    """Prepare an application, before it starts, for Holdfast's routers and for `Owner` and `Session`.

        app = FastAPI()
        attach(app, holdfast)
        app.include_router(get_jobs_router())

    Every error of the application becomes a problem, every request is given an id, and Holdfast's
    connections are closed at shutdown, after the application's own lifespan.
    """
    hub = make_hub(holdfast)
    gathering = Gathering(holdfast.database)
    app.state.holdfast = Services(holdfast, hub, gathering, documents, notifications)
    install_problems(app)
    complete_openapi(app)
    app.add_middleware(RequestIds)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        try:
            async with inner(app) as state:
                with let_go_at_shutdown(hub):
                    yield state
        finally:
            await hub.aclose()
            await gathering.aclose()
            await holdfast.progress.aclose()
            await holdfast.database.aclose()

    app.router.lifespan_context = lifespan
