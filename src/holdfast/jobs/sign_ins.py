"""Sign-ins: browsers that were shown an API key, and are known by a secret of their own from then on.

The key itself stays with its holder: what a browser keeps is of use for a day, to the dashboard alone, and
ends with the key.
"""

import hashlib
import secrets
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from holdfast.jobs.keys import IS_VALID, Owner
from holdfast.jobs.models import ApiKey, SignIn

LIFETIME: Final = timedelta(hours=12)


def sign_in(session: Session, owner: Owner, *, lifetime: timedelta = LIFETIME) -> str:
    """Let a browser act for this owner; returns the secret it is known by. Old ones are removed."""
    secret = secrets.token_urlsafe(32)
    session.execute(delete(SignIn).where(SignIn.expires_at < func.now()))
    session.add(SignIn(hash=_hash(secret), key_id=owner.id, expires_at=func.now() + lifetime))
    session.flush()
    return secret


def find_signed_in(session: Session, secret: str) -> Owner | None:
    """The owner for whom the browser with this secret acts; `None`: it is signed out, or the key ended."""
    row = session.execute(
        select(ApiKey.id, ApiKey.name, ApiKey.scopes)
        .join(SignIn, SignIn.key_id == ApiKey.id)
        .where(SignIn.hash == _hash(secret), SignIn.expires_at > func.now(), IS_VALID)
    ).one_or_none()
    return None if row is None else Owner(row.id, row.name, tuple(row.scopes))


def sign_out(session: Session, secret: str) -> None:
    """Forget the browser with this secret."""
    session.execute(delete(SignIn).where(SignIn.hash == _hash(secret)))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
