"""The HTTP API, as an application and as routers for a user's own.

`create_app` makes the application that `holdfast api` serves. A user's own application calls `attach` once
and includes the routers it wants; its endpoints take `Owner`, `Session` and `IdempotencyKey` as parameters.
"""

from holdfast.extras import server_parts

with server_parts():
    from holdfast.api.accepting import IdempotencyKey, answer_with
    from holdfast.api.application import attach, create_app
    from holdfast.api.batches import get_batches_router
    from holdfast.api.dependencies import Administrator, Owner, Session
    from holdfast.api.documents import get_documents_router
    from holdfast.api.events.routes import get_events_router
    from holdfast.api.health import get_health_router
    from holdfast.api.jobs import get_jobs_router
    from holdfast.api.notifications import get_notifications_router
    from holdfast.api.queues import get_queues_router
    from holdfast.api.search import get_search_router
    from holdfast.api.webhooks import get_webhooks_router

__all__ = [
    "Administrator",
    "IdempotencyKey",
    "Owner",
    "Session",
    "answer_with",
    "attach",
    "create_app",
    "get_batches_router",
    "get_documents_router",
    "get_events_router",
    "get_health_router",
    "get_jobs_router",
    "get_notifications_router",
    "get_queues_router",
    "get_search_router",
    "get_webhooks_router",
]
