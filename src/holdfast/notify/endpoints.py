"""Endpoints of API keys, and the secrets that webhooks are signed with."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Interval, cast, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from holdfast.errors import InvalidArguments
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import ApiKey
from holdfast.jobs.storable import storable_text
from holdfast.notify.models import DisabledBecause, Webhook, WebhookSecret
from holdfast.notify.signing import new_secret

EVENTS: Final = ("job.completed", "job.failed", "job.cancelled", "batch.ended")
MAX_WEBHOOKS: Final = 20
MAX_DESCRIPTION: Final = 500
# How long the secret before is valid besides a new one.
OVERLAP: Final = timedelta(hours=24)


class TooManyWebhooks(InvalidArguments):
    """An API key has 20 endpoints at most."""

    code = "too_many_webhooks"


def add_webhook(
    session: Session, owner_id: UUID, *, url: str, events: Collection[str], description: str = ""
) -> tuple[Webhook, bytes]:
    """Make an endpoint; returns it with its secret, which is shown now or never.

    Raises:
        InvalidArguments: an event that there is not, or none.
        TooManyWebhooks: the key has as many as it may have.
    """
    # One at a time, so that two do not both find room for the last.
    session.execute(select(ApiKey.id).where(ApiKey.id == owner_id).with_for_update(key_share=True))
    count = select(func.count()).where(Webhook.owner_id == owner_id)
    if session.execute(count).scalar_one() >= MAX_WEBHOOKS:
        raise TooManyWebhooks
    webhook = Webhook(
        owner_id=owner_id, url=url, events=checked_events(events), description=_described(description)
    )
    session.add(webhook)
    session.flush()
    session.refresh(webhook)
    return webhook, _add_secret(session, owner_id, webhook.id)


def checked_events(events: Collection[str]) -> list[str]:
    """The events in their order, each once; raises `InvalidArguments`."""
    unknown = sorted(set(events).difference(EVENTS))
    if unknown or not events:
        named = ", ".join(EVENTS)
        raise InvalidArguments(f"The events of a webhook are some of {named}, not {unknown or 'none'}.")
    return [event for event in EVENTS if event in events]


def list_webhooks(session: Session, owner_id: UUID) -> Sequence[Webhook]:
    """The endpoints of an API key, oldest first."""
    return session.scalars(select(Webhook).where(Webhook.owner_id == owner_id).order_by(Webhook.id)).all()


def get_webhook(session: Session, webhook_id: UUID) -> Webhook | None:
    """The endpoint with this id, whoever owns it."""
    return session.get(Webhook, webhook_id, populate_existing=True)


def change(
    session: Session,
    webhook_id: UUID,
    *,
    url: str | None = None,
    events: Collection[str] | None = None,
    description: str | None = None,
) -> None:
    """Change what is given; raises `InvalidArguments` as `add_webhook`."""
    values = {
        "url": url,
        "events": None if events is None else checked_events(events),
        "description": None if description is None else _described(description),
    }
    given = {name: value for name, value in values.items() if value is not None}
    if given:
        session.execute(update(Webhook).where(Webhook.id == webhook_id).values(given))


def disable(session: Session, webhook_id: UUID, because: DisabledBecause) -> bool:
    """Tell an endpoint nothing more; `False`: it was disabled before, or removed."""
    disabled = session.execute(
        update(Webhook)
        .where(Webhook.id == webhook_id, Webhook.disabled_at.is_(None))
        .values(disabled_at=func.now(), disabled_because=because)
        .returning(Webhook.id)
    )
    return disabled.one_or_none() is not None


def enable(session: Session, webhook_id: UUID) -> None:
    """Tell an endpoint again of what happens from now on."""
    values = {"disabled_at": None, "disabled_because": None}
    session.execute(update(Webhook).where(Webhook.id == webhook_id).values(values))


def remove(session: Session, webhook_id: UUID) -> None:
    """Remove an endpoint, its secrets and what the log has of it."""
    session.execute(delete(Webhook).where(Webhook.id == webhook_id))


def rotate(
    session: Session, owner_id: UUID | None, webhook_id: UUID | None, *, overlap: timedelta = OVERLAP
) -> bytes:
    """Make a new secret, of an endpoint or of webhooks named in jobs; returns it.

    The one before stays valid for `overlap`, an older one no longer.
    """
    mine = _of(owner_id, webhook_id)
    session.execute(delete(WebhookSecret).where(mine, WebhookSecret.expires_at.is_not(None)))
    expiry = func.now() + cast(overlap, Interval)
    session.execute(update(WebhookSecret).where(mine).values(expires_at=expiry))
    return _add_secret(session, owner_id, webhook_id)


def valid_secrets(session: Session, owner_id: UUID | None, webhook_id: UUID | None) -> list[bytes]:
    """The secrets to sign with, the newest first; one is made if there is none."""
    is_valid = or_(WebhookSecret.expires_at.is_(None), WebhookSecret.expires_at > func.now())
    valid = (
        select(WebhookSecret.secret)
        .where(_of(owner_id, webhook_id), is_valid)
        .order_by(WebhookSecret.expires_at.desc().nulls_first())
    )
    found = list(session.scalars(valid))
    if not found:
        values = {"id": new_id(), "owner_id": owner_id, "webhook_id": webhook_id}
        # Another job of the key may do the same just now.
        once = insert(WebhookSecret).values(**values, secret=new_secret()).on_conflict_do_nothing()
        session.execute(once)
        found = list(session.scalars(valid))
    return found


def _of(owner_id: UUID | None, webhook_id: UUID | None) -> ColumnElement[bool]:
    return WebhookSecret.owner_id.is_not_distinct_from(
        owner_id
    ) & WebhookSecret.webhook_id.is_not_distinct_from(webhook_id)


def _add_secret(session: Session, owner_id: UUID | None, webhook_id: UUID | None) -> bytes:
    secret = new_secret()
    session.add(WebhookSecret(owner_id=owner_id, webhook_id=webhook_id, secret=secret))
    session.flush()
    return secret


def _described(description: str) -> str:
    return storable_text(description)[:MAX_DESCRIPTION]
