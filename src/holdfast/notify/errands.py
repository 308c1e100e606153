"""What a job that brings a notification has to know: what to tell, to whom, by which channel."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from holdfast.jobs import batches
from holdfast.jobs.models import ApiKey, Job
from holdfast.notify import endpoints
from holdfast.notify.channel import Notice
from holdfast.notify.models import Notification, Webhook

PING: Final = "webhook.ping"
# A webhook's body is to stay under 20 kB: longer metadata is left out, and a longer message cut off.
_MAX_METADATA: Final = 8_000
_MAX_MESSAGE: Final = 500


@dataclass(frozen=True)
class Errand:
    """A notice, and where it is to go; `channel` is None if the receiver is told nothing any more.

    Of a webhook, `target` has the URL, the secrets to sign with, and the time by the database's clock.
    """

    notice: Notice
    channel: str | None
    target: JsonValue = None
    webhook_id: UUID | None = None


def errand_of(session: Session, notification: Notification) -> Errand:
    """Read what is needed to bring this notification."""
    notice = Notice(
        notification.id, notification.event, notification.created_at, _data_of(session, notification)
    )
    if notification.webhook_id is not None:
        return _to_endpoint(session, notice, notification)
    if _is_revoked(session, notification.owner_id):
        return Errand(notice, None)
    target: JsonValue = (notification.target or {}).get("to")
    if notification.channel == "webhook":
        secrets = endpoints.valid_secrets(session, notification.owner_id, None)
        target = _webhook(session, target["url"] if isinstance(target, dict) else None, secrets)
    return Errand(notice, notification.channel, target)


def _to_endpoint(session: Session, notice: Notice, notification: Notification) -> Errand:
    webhook = session.get_one(Webhook, notification.webhook_id)
    if webhook.disabled_at is not None or _is_revoked(session, notification.owner_id):
        return Errand(notice, None, webhook_id=webhook.id)
    secrets = endpoints.valid_secrets(session, webhook.owner_id, webhook.id)
    return Errand(notice, notification.channel, _webhook(session, webhook.url, secrets), webhook.id)


def _webhook(session: Session, url: JsonValue, secrets: list[bytes]) -> JsonValue:
    now = session.execute(select(func.now())).scalar_one()
    return {"url": url, "secrets": [secret.hex() for secret in secrets], "timestamp": int(now.timestamp())}


def _is_revoked(session: Session, owner_id: UUID | None) -> bool:
    if owner_id is None:
        return False
    return session.execute(select(ApiKey.revoked_at).where(ApiKey.id == owner_id)).scalar_one() is not None


def _data_of(session: Session, notification: Notification) -> dict[str, Any]:
    if notification.job_id is not None:
        return _job_data(session, notification.job_id)
    if notification.batch_id is not None:
        return _batch_data(session, notification.batch_id)
    return {"webhook_id": str(notification.webhook_id)}


def _job_data(session: Session, job_id: UUID) -> dict[str, Any]:
    columns = (
        Job.task,
        Job.status,
        Job.attempt,
        Job.error,
        Job.created_at,
        Job.started_at,
        Job.completed_at,
        Job.batch_id,
        Job.parent_id,
        Job.retry_of,
        Job.metadata_.label("metadata"),
    )
    row = session.execute(select(*columns).where(Job.id == job_id)).one()._asdict()
    # A job that completed after a retry keeps no error; one that was cancelled may have that of an attempt.
    error = row.pop("error")
    told = {name: _json(value) for name, value in row.items() if name != "metadata"}
    return {
        "id": str(job_id),
        **told,
        "error": None if error is None else _short(error),
        **_short_metadata(row["metadata"]),
        "url": f"/v1/jobs/{job_id}",
    }


def _batch_data(session: Session, batch_id: UUID) -> dict[str, Any]:
    found = batches.get_batch(session, batch_id)
    assert found is not None  # noqa: S101 - the notification refers to it
    counts = {status.value: count for status, count in found.counts.items() if status.is_terminal}
    return {
        "id": str(batch_id),
        "total": found.batch.total,
        "counts": counts,
        "created_at": _json(found.batch.created_at),
        **_short_metadata(found.batch.metadata_),
        "url": f"/v1/batches/{batch_id}",
    }


def _short(error: dict[str, Any]) -> dict[str, Any]:
    return {name: error[name] and str(error[name])[:_MAX_MESSAGE] for name in ("code", "message", "stage")}


def _short_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    is_short = len(json.dumps(metadata, ensure_ascii=False).encode()) <= _MAX_METADATA
    return {"metadata": metadata} if is_short else {"metadata": None, "metadata_is_too_long": True}


def _json(value: object) -> JsonValue:
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case UUID():
            return str(value)
        case None | str() | int():
            return value
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a notice")
