"""The channel `webhook`: Standard Webhooks, for endpoints of API keys and for URLs that jobs name."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from pydantic import JsonValue, TypeAdapter

from holdfast.errors import InvalidArguments
from holdfast.notify.channel import Answer, Notice, NotSent
from holdfast.notify.posting import Poster, Reply
from holdfast.notify.signing import signed_headers

_GONE: Final = 410
_LONGEST_WAIT: Final = timedelta(days=1)


@dataclass(frozen=True)
class _Target:
    """As `errands` makes it."""

    url: str
    secrets: list[str]
    timestamp: int


_TARGET: Final = TypeAdapter(_Target)


class WebhookChannel:
    """Posts notices, signed.

    Args:
        poster: how.
    """

    name = "webhook"

    def __init__(self, poster: Poster) -> None:
        self.poster = poster

    def check(self, target: JsonValue) -> None:
        """Check `{"url": ...}`; raises `InvalidArguments`."""
        if not isinstance(target, dict) or target.keys() != {"url"}:
            raise InvalidArguments('notify: a webhook is {"url": "https://..."}.')
        self.poster.check_url(target["url"])

    async def send(self, notice: Notice, target: JsonValue) -> Answer | None:
        """Post the notice to `url`, signed with each of `secrets` (hexadecimal), at the time `timestamp`.

        Raises:
            NotSent: there was no answer, or one that is not of the kind 2xx.
        """
        to, body = _TARGET.validate_python(target), notice.body
        keys = [bytes.fromhex(secret) for secret in to.secrets]
        headers = signed_headers(notice.message_id, to.timestamp, body, keys)
        reply = await self.poster.post(to.url, body, headers)
        if 200 <= reply.status < 300:
            return reply.answer
        raise _refused(reply)


def _refused(reply: Reply) -> NotSent:
    if reply.status == _GONE:
        return NotSent("The endpoint is gone (410).", code="gone", answer=reply.answer, is_gone=True)
    if 300 <= reply.status < 400:
        message = f"The endpoint redirects ({reply.status}), and redirects are not followed."
        return NotSent(message, code="redirected", answer=reply.answer)
    wait = _asked_wait(reply.headers.get("retry-after"))
    message = f"The endpoint answered {reply.status}."
    return NotSent(message, code="refused", answer=reply.answer, retry_after=wait)


def _asked_wait(header: str | None) -> timedelta | None:
    """What `Retry-After` asks for, a day at most (RFC 9110, section 10.2.3)."""
    if header is None:
        return None
    if header.isdecimal():
        return min(timedelta(seconds=min(int(header), 10**6)), _LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(aware - datetime.now(UTC), timedelta()), _LONGEST_WAIT)
