"""Signatures of Standard Webhooks (standardwebhooks.com, `v1`): who sent a webhook, and that it is whole.

What is signed is `id.timestamp.body`, by HMAC-SHA256. While a secret is being replaced there are several
signatures, of which the receiver takes the one it can check.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

# The specification asks for 24 to 64 bytes.
_SECRET_BYTES: Final = 32
_PREFIX: Final = "whsec_"


def new_secret() -> bytes:
    """A secret that nobody can guess."""
    return secrets.token_bytes(_SECRET_BYTES)


def shown_secret(secret: bytes) -> str:
    """A secret as receivers are given it."""
    return _PREFIX + base64.b64encode(secret).decode()


def signed_headers(message_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers that tell the receiver what came, when, and from whom.

    Args:
        message_id: the same whenever the message is sent again.
        timestamp: of this try, in seconds since 1970; receivers refuse old ones.
        body: as it is sent.
        keys: the secrets that are valid just now, the newest first.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(content, key) for key in keys),
    }


def _signature(content: bytes, key: bytes) -> str:
    digest = hmac.new(key, content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
