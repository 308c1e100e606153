"""`/v1/notifications`: what was told of jobs and batches, to whom, and every try."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session as SyncSession
from starlette.requests import Request

from holdfast.api.dependencies import Owner, Session, private
from holdfast.api.examples import answers
from holdfast.api.job_views import checked
from holdfast.api.openapi import operation_id, problem_responses
from holdfast.api.problems import Refused
from holdfast.api.services import notifications_of, reading, services_of
from holdfast.jobs import keys
from holdfast.notify import log
from holdfast.notify.models import Notification, NotificationStatus
from holdfast.schemas import JOB_ID

NOTIFICATION_ID: Final = "01997a5e-91d0-7a61-b3b0-4a7f2e6c8d19"
WEBHOOK_ID: Final = "01997a5d-0c11-7f30-9a52-7d1e5b3c2f48"
NOTIFICATION: Final[dict[str, Any]] = {
    "id": NOTIFICATION_ID,
    "event": "job.completed",
    "channel": "webhook",
    "status": "delivered",
    "webhook_id": WEBHOOK_ID,
    "job_id": JOB_ID,
    "batch_id": None,
    "created_at": "2026-11-22T10:15:32.902000Z",
    "ended_at": "2026-11-22T10:15:33.410000Z",
}
_TRY: Final[dict[str, Any]] = {
    "tried_at": "2026-11-22T10:15:33.405000Z",
    "seconds": 0.183,
    "status": 204,
    "answer": None,
    "error": None,
}
_PAGE: Final[dict[str, Any]] = {
    "data": [NOTIFICATION],
    "has_more": False,
    "first_id": NOTIFICATION_ID,
    "last_id": NOTIFICATION_ID,
}


class NotificationView(BaseModel):
    """One event, told to one receiver."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="A webhook's `webhook-id` is made of it.")
    event: str
    channel: str
    status: NotificationStatus
    webhook_id: UUID | None = Field(description="The endpoint; null for what a job asked for.")
    job_id: UUID | None
    batch_id: UUID | None
    created_at: datetime
    ended_at: datetime | None


class TryFailure(BaseModel):
    """Why a try failed."""

    code: str
    message: str


class TryView(BaseModel):
    """One try to bring a notification."""

    model_config = ConfigDict(from_attributes=True)

    tried_at: datetime
    seconds: float = Field(description="How long it took.")
    status: int | None = Field(description="Of the receiver's answer, if there was one.")
    answer: str | None = Field(description="The beginning of what it said.")
    error: TryFailure | None


class NotificationWithTries(NotificationView):
    """A notification with its tries, first to last."""

    tries: list[TryView]


class NotificationPage(BaseModel):
    """Notifications, newest first. `before=last_id` asks for the next page."""

    data: list[NotificationView]
    has_more: bool
    first_id: UUID | None
    last_id: UUID | None


Limit = Annotated[int, Query(ge=1, le=100)]
Before = Annotated[UUID | None, Query(description="Continue with notifications older than this.")]


def get_notifications_router() -> APIRouter:
    """The routes under `/v1/notifications`, for an application with notifications attached."""
    router = APIRouter(
        prefix="/v1/notifications",
        tags=["notifications"],
        generate_unique_id_function=operation_id,
        dependencies=[Depends(private)],
    )
    router.get("", responses={**answers(200, _PAGE), **problem_responses(401, 422, 503)})(list_notifications)
    of_one = problem_responses(401, 403, 404, 422, 503)
    whole = {**NOTIFICATION, "tries": [_TRY]}
    router.get("/{notification_id}", responses={**answers(200, whole), **of_one})(get_notification)
    again = {**NOTIFICATION, "status": "pending", "ended_at": None}
    router.post("/{notification_id}/redeliver", status_code=202, responses={**answers(202, again), **of_one})(
        redeliver_notification
    )
    return router


async def list_notifications(
    request: Request,
    owner: Owner,
    job_id: UUID | None = None,
    webhook_id: UUID | None = None,
    status: NotificationStatus | None = None,
    limit: Limit = 20,
    before: Before = None,
) -> NotificationPage:
    """What was told, or is still to be told, of the jobs and batches of this API key, newest first."""
    async with reading(services_of(request).holdfast.database) as session:
        found = await session.run_sync(
            log.list_notifications,
            owner.id,
            job_id=job_id,
            webhook_id=webhook_id,
            status=status,
            limit=limit + 1,
            before=before,
        )
    shown = [NotificationView.model_validate(notification) for notification in found[:limit]]
    return NotificationPage(
        data=shown,
        has_more=len(found) > limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


async def get_notification(notification_id: UUID, request: Request, owner: Owner) -> NotificationWithTries:
    """A notification with its tries: when, how long, what was answered, or why there was no answer."""
    async with reading(services_of(request).holdfast.database) as session:
        found = await session.run_sync(_owned, owner, notification_id)
        tries = await session.run_sync(log.list_tries, notification_id)
    view = NotificationView.model_validate(found)
    shown = [TryView.model_validate(tried) for tried in tries]
    return NotificationWithTries(**view.model_dump(), tries=shown)


async def redeliver_notification(
    notification_id: UUID, request: Request, owner: Owner, session: Session
) -> NotificationView:
    """Bring a notification once more, at once, under the same id, whatever became of it before."""
    notifications = notifications_of(request)

    def again(sync: SyncSession) -> Notification:
        notifications.redeliver(sync, _owned(sync, owner, notification_id))
        return _owned(sync, owner, notification_id)

    return NotificationView.model_validate(await session.run_sync(again))


def _owned(session: SyncSession, owner: keys.Owner, notification_id: UUID) -> Notification:
    found = log.get_notification(session, notification_id)
    if found is None:
        raise Refused("notification_not_found", "No notification has this id.")
    return checked(found, owner, "The notification belongs to another API key.")
