"""`/v1/webhooks`: endpoints that are told of what happens to the jobs of an API key."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session as SyncSession
from starlette.requests import Request

from holdfast.api.dependencies import Owner, Session, private
from holdfast.api.examples import answers
from holdfast.api.job_views import checked
from holdfast.api.limited_bodies import LimitedBodyRoute
from holdfast.api.notifications import NOTIFICATION, WEBHOOK_ID, NotificationView
from holdfast.api.openapi import operation_id, problem_responses
from holdfast.api.problems import Refused
from holdfast.api.services import notifications_of, reading, services_of
from holdfast.jobs import keys
from holdfast.notify import endpoints
from holdfast.notify.models import DisabledBecause, Webhook
from holdfast.notify.signing import shown_secret
from holdfast.schemas import StorableText

_SECRET: Final = {"secret": "whsec_EXAMPLEonlyEXAMPLEonlyEXAMPLEonlyEXAMPLEo="}
_WEBHOOK: Final[dict[str, Any]] = {
    "id": WEBHOOK_ID,
    "url": "https://example.org/hook",
    "events": ["job.completed", "job.failed"],
    "description": "billing",
    "created_at": "2026-11-22T08:00:00.400000Z",
    "disabled_at": None,
    "disabled_because": None,
}
_DISABLED: Final = {
    **_WEBHOOK,
    "disabled_at": "2026-11-22T10:15:31.500000Z",
    "disabled_because": "asked",
}
_PING: Final = {
    **NOTIFICATION,
    "event": "webhook.ping",
    "status": "pending",
    "job_id": None,
    "ended_at": None,
}

Url = Annotated[StorableText, Field(max_length=2_000, examples=["https://example.org/hook"])]
Events = Annotated[
    list[str],
    Field(
        min_length=1,
        max_length=20,
        description=f"Some of {', '.join(f'`{event}`' for event in endpoints.EVENTS)}.",
        examples=[["job.completed", "job.failed"]],
    ),
]
Description = Annotated[StorableText, Field(max_length=endpoints.MAX_DESCRIPTION, examples=["billing"])]
OverlapHours = Annotated[
    float, Query(ge=0, le=168, description="How long the secret before is valid besides the new one.")
]


class WebhookRequest(BaseModel):
    """An endpoint, and what it is to be told."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://example.org/hook", "events": ["job.failed"]}]},
    )

    url: Url
    events: Events = Field(default_factory=lambda: list(endpoints.EVENTS))
    description: Description = ""


class WebhookChange(BaseModel):
    """What is to be changed of an endpoint."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"events": ["job.failed"]}]})

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None


class WebhookView(BaseModel):
    """An endpoint of this API key."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    url: str
    events: list[str]
    description: str
    created_at: datetime
    disabled_at: datetime | None = Field(description="Since when it is told nothing.")
    disabled_because: DisabledBecause | None = Field(
        description="`asked`; `gone`: it answered 410; `failing`: nothing reached it for three days."
    )


class Secret(BaseModel):
    """What webhooks are signed with. It is shown now and never again."""

    secret: str


class NewWebhook(WebhookView, Secret):
    """A new endpoint, with its secret."""


class WebhookList(BaseModel):
    """The endpoints of this API key, oldest first."""

    data: list[WebhookView]


def get_webhooks_router() -> APIRouter:
    """The routes under `/v1/webhooks`, for an application with notifications attached."""
    router = APIRouter(
        prefix="/v1/webhooks",
        tags=["notifications"],
        generate_unique_id_function=operation_id,
        route_class=LimitedBodyRoute,
        dependencies=[Depends(private)],
    )
    new = {**answers(201, {**_WEBHOOK, **_SECRET}), **problem_responses(400, 401, 409, 413, 422, 503)}
    router.post("", status_code=201, responses=new)(create_webhook)
    router.get("", responses={**answers(200, {"data": [_WEBHOOK]}), **problem_responses(401, 503)})(
        list_webhooks
    )
    router.post("/secret", responses={**answers(200, _SECRET), **problem_responses(401, 422, 503)})(
        rotate_job_secret
    )
    one, of_one = "/{webhook_id}", problem_responses(401, 403, 404, 422, 503)
    router.get(one, responses={**answers(200, _WEBHOOK), **of_one})(get_webhook)
    changing = {**answers(200, _WEBHOOK), **problem_responses(400, 401, 403, 404, 413, 422, 503)}
    router.patch(one, responses=changing)(change_webhook)
    router.delete(one, status_code=204, responses=of_one)(delete_webhook)
    router.post(f"{one}/rotate", responses={**answers(200, _SECRET), **of_one})(rotate_webhook_secret)
    router.post(f"{one}/enable", responses={**answers(200, _WEBHOOK), **of_one})(enable_webhook)
    router.post(f"{one}/disable", responses={**answers(200, _DISABLED), **of_one})(disable_webhook)
    router.post(f"{one}/ping", status_code=202, responses={**answers(202, _PING), **of_one})(ping_webhook)
    return router


async def create_webhook(
    body: WebhookRequest, request: Request, owner: Owner, session: Session
) -> NewWebhook:
    """Register an endpoint for the jobs of this API key, which has 20 at most. Its secret is shown once."""
    url = notifications_of(request).poster.check_url(body.url)

    def add(sync: SyncSession) -> tuple[Webhook, bytes]:
        return endpoints.add_webhook(
            sync, owner.id, url=url, events=body.events, description=body.description
        )

    webhook, secret = await session.run_sync(add)
    return NewWebhook(**WebhookView.model_validate(webhook).model_dump(), secret=shown_secret(secret))


async def list_webhooks(request: Request, owner: Owner) -> WebhookList:
    """The endpoints of this API key."""
    async with reading(services_of(request).holdfast.database) as session:
        found = await session.run_sync(endpoints.list_webhooks, owner.id)
    return WebhookList(data=[WebhookView.model_validate(webhook) for webhook in found])


async def rotate_job_secret(owner: Owner, session: Session, overlap_hours: OverlapHours = 24) -> Secret:
    """Make a secret for webhooks that jobs of this API key name by their URL, and show it once. The one
    before stays valid for a while: until then there are two signatures.
    """  # noqa: D205 - shown whole as the operation's description
    overlap = timedelta(hours=overlap_hours)
    secret = await session.run_sync(endpoints.rotate, owner.id, None, overlap=overlap)
    return Secret(secret=shown_secret(secret))


async def get_webhook(webhook_id: UUID, request: Request, owner: Owner) -> WebhookView:
    """An endpoint; what it was told is at `/v1/notifications?webhook_id=`."""
    async with reading(services_of(request).holdfast.database) as session:
        return WebhookView.model_validate(await session.run_sync(_owned, owner, webhook_id))


async def change_webhook(
    webhook_id: UUID, body: WebhookChange, request: Request, owner: Owner, session: Session
) -> WebhookView:
    """Change an endpoint's URL, events or description. What waits for it goes to the new URL."""
    if body.url is not None:
        notifications_of(request).poster.check_url(body.url)

    def change(sync: SyncSession) -> Webhook:
        _owned(sync, owner, webhook_id)
        endpoints.change(sync, webhook_id, url=body.url, events=body.events, description=body.description)
        return _owned(sync, owner, webhook_id)

    return WebhookView.model_validate(await session.run_sync(change))


async def delete_webhook(webhook_id: UUID, owner: Owner, session: Session) -> None:
    """Remove an endpoint, with the log of what it was told."""
    await session.run_sync(_owned, owner, webhook_id)
    await session.run_sync(endpoints.remove, webhook_id)


async def rotate_webhook_secret(
    webhook_id: UUID, owner: Owner, session: Session, overlap_hours: OverlapHours = 24
) -> Secret:
    """Make a new secret for an endpoint, and show it once. The one before stays valid for a while: until then
    there are two signatures.
    """  # noqa: D205 - shown whole as the operation's description
    await session.run_sync(_owned, owner, webhook_id)
    overlap = timedelta(hours=overlap_hours)
    secret = await session.run_sync(endpoints.rotate, owner.id, webhook_id, overlap=overlap)
    return Secret(secret=shown_secret(secret))


async def enable_webhook(webhook_id: UUID, owner: Owner, session: Session) -> WebhookView:
    """Tell an endpoint again of what happens from now on. Harmless to repeat."""
    await session.run_sync(_owned, owner, webhook_id)
    await session.run_sync(endpoints.enable, webhook_id)
    return WebhookView.model_validate(await session.run_sync(_owned, owner, webhook_id))


async def disable_webhook(webhook_id: UUID, owner: Owner, session: Session) -> WebhookView:
    """Tell an endpoint nothing more; what waits for it is discarded. Harmless to repeat."""
    await session.run_sync(_owned, owner, webhook_id)
    await session.run_sync(endpoints.disable, webhook_id, DisabledBecause.ASKED)
    return WebhookView.model_validate(await session.run_sync(_owned, owner, webhook_id))


async def ping_webhook(
    webhook_id: UUID, request: Request, owner: Owner, session: Session
) -> NotificationView:
    """Send an endpoint something to try it with, once; what came of it is at `/v1/notifications/{id}`."""
    notifications = notifications_of(request)

    def ping(sync: SyncSession) -> NotificationView:
        webhook = _owned(sync, owner, webhook_id)
        return NotificationView.model_validate(notifications.ping(sync, webhook))

    return await session.run_sync(ping)


def _owned(session: SyncSession, owner: keys.Owner, webhook_id: UUID) -> Webhook:
    found = endpoints.get_webhook(session, webhook_id)
    if found is None:
        raise Refused("webhook_not_found", "No webhook has this id.")
    return checked(found, owner, "The webhook belongs to another API key.")
