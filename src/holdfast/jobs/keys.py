"""API keys: who may ask, and who owns what was asked for.

A key is `hf_<prefix>_<secret>`: the prefix finds it and may be shown, the secret is 256 random bits, of which
only a SHA-256 is stored. A slow password hash would add nothing: there is nothing to guess.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Uuid, and_, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from holdfast.jobs.models import ApiKey

# What a key may be allowed besides the jobs and documents of its own: to run the whole, or to look at it.
ADMIN: Final = "admin"
VIEWER: Final = "viewer"

IS_VALID = and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()))
"""Whether a key is neither revoked nor expired."""

VALID_IDS = select(ApiKey.id).where(ApiKey.id == func.any(bindparam("ids", type_=ARRAY(Uuid))), IS_VALID)
"""Those of these keys that are valid."""

_NOBODY = hashlib.sha256(b"no key has this hash").digest()


@dataclass(frozen=True)
class Owner:
    """The holder of an API key."""

    id: UUID
    name: str
    scopes: tuple[str, ...] = ()


def create_key(
    session: Session, name: str, *, scopes: Sequence[str] = (), expires_in: timedelta | None = None
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and the secret token, which is shown now or never."""
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    token = f"hf_{prefix}_{secret}"
    key = ApiKey(name=name, prefix=prefix, hash=_hash(token), scopes=list(scopes))
    session.add(key)
    session.flush()
    if expires_in is not None:
        session.execute(update(ApiKey).where(ApiKey.id == key.id).values(expires_at=func.now() + expires_in))
    session.refresh(key)
    return key, token


def find_owner(session: Session, token: str) -> Owner | None:
    """The owner whose valid key this is; `None`: unknown, revoked or expired.

    Takes the same time whether or not the prefix exists.
    """
    prefix = token[3:11] if token.startswith("hf_") else ""
    row = session.execute(
        select(ApiKey.id, ApiKey.name, ApiKey.scopes, ApiKey.hash).where(ApiKey.prefix == prefix, IS_VALID)
    ).one_or_none()
    matches = hmac.compare_digest(_hash(token), _NOBODY if row is None else row.hash)
    return Owner(row.id, row.name, tuple(row.scopes)) if row is not None and matches else None


def list_keys(session: Session) -> Sequence[ApiKey]:
    """All keys, oldest first, the revoked ones too."""
    return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


def find_id(session: Session, prefix: str) -> UUID | None:
    """The owner whose key has this prefix (with or without `hf_`), valid or not."""
    found = select(ApiKey.id).where(ApiKey.prefix == prefix.removeprefix("hf_"))
    return session.execute(found).scalar_one_or_none()


def revoke_key(session: Session, prefix: str) -> bool:
    """Revoke the key with this prefix (with or without `hf_`); `False` if there is none to revoke."""
    revoked = session.execute(
        update(ApiKey)
        .where(ApiKey.prefix == prefix.removeprefix("hf_"), ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(ApiKey.id)
    )
    return revoked.one_or_none() is not None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
