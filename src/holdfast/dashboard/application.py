"""The routes of the dashboard, for an application that `attach` was called for."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from holdfast.api.limited_bodies import LimitedBodyRoute
from holdfast.api.queues import list_queues, list_workers, pause_queue, resume_queue
from holdfast.dashboard import documents, failures, jobs, keys, overview, pages, sessions
from holdfast.dashboard.sessions import not_stored, same_origin, signed_in, signed_in_as_admin

_JSON: Final = "/dashboard/api"


def add_dashboard(app: FastAPI) -> FastAPI:
    """Serve the dashboard with this application; returns the application."""
    app.state.holdfast_overviews = overview.Overviews()
    app.include_router(pages.get_pages_router())
    app.include_router(_open_router())
    app.include_router(_viewers_router())
    app.include_router(_admins_router())
    app.include_router(_uploads_router())
    return app


def _router(*guards: Callable[..., Any], route_class: type[APIRoute] = LimitedBodyRoute) -> APIRouter:
    return APIRouter(
        prefix=_JSON,
        include_in_schema=False,
        route_class=route_class,
        dependencies=[Depends(same_origin), *map(Depends, guards), Depends(not_stored)],
    )


def _open_router() -> APIRouter:
    """What can be asked for before signing in."""
    router = _router()
    router.post("/session")(sessions.sign_in)
    router.get("/session")(sessions.get_session)
    router.delete("/session", status_code=204)(sessions.sign_out)
    return router


def _viewers_router() -> APIRouter:
    """What every role may see."""
    router = _router(signed_in)
    router.get("/overview")(overview.get_overview)
    router.get("/jobs")(jobs.list_jobs)
    router.get("/jobs/{job_id}")(jobs.get_job)
    router.get("/jobs/{job_id}/events")(jobs.watch_job)
    router.get("/failures")(failures.list_groups)
    router.get("/queues")(list_queues)
    router.get("/workers")(list_workers)
    router.get("/keys")(keys.list_keys)
    router.get("/documents")(documents.list_documents)
    router.get("/collections")(documents.list_collections)
    router.post("/search")(documents.search)
    return router


def _admins_router() -> APIRouter:
    """What changes something, or shows what only its owner and who runs the whole should see."""
    router = _router(signed_in_as_admin)
    router.get("/jobs/{job_id}/arguments")(jobs.get_arguments)
    router.post("/jobs/{job_id}/cancel", status_code=202)(jobs.cancel_job)
    router.post("/jobs/{job_id}/retry", status_code=202)(jobs.retry_job)
    router.post("/failures/retry", status_code=202)(failures.retry_some)
    router.post("/queues/{name}/pause")(pause_queue)
    router.post("/queues/{name}/resume")(resume_queue)
    router.post("/keys", status_code=201)(keys.create_key)
    router.delete("/keys/{prefix}", status_code=204)(keys.revoke_key)
    router.delete("/documents/{document_id}", status_code=204)(documents.delete_document)
    return router


def _uploads_router() -> APIRouter:
    """Uploads, which are read as they come and may be longer than JSON ever is."""
    router = _router(signed_in_as_admin, route_class=APIRoute)
    router.post("/documents", status_code=202)(documents.upload)
    return router
