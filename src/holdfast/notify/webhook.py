"""The channel `webhook`: Standard Webhooks, for endpoints of API keys and for URLs that jobs name."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from pydantic import JsonValue

from holdfast.errors import InvalidArguments
from holdfast.notify.channel import Answer, Notice, NotSent
from holdfast.notify.posting import Poster, Reply
from holdfast.notify.signing import signed_headers

_GONE: Final = 410
_LONGEST_WAIT: Final = timedelta(days=1)


class WebhookChannel:
    """Posts notices, signed.

    Args:
        poster: how.
        now: gives the time of a try, in seconds since 1970.
    """

    name = "webhook"

    def __init__(self, poster: Poster, now: Callable[[], float] = time.time) -> None:
        self.poster = poster
        self._now = now

    def check(self, target: JsonValue) -> None:
        """Check `{"url": ...}`; raises `InvalidArguments`."""
        if not isinstance(target, dict) or target.keys() != {"url"}:
            raise InvalidArguments('notify: a webhook is {"url": "https://..."}.')
        self.poster.check_url(target["url"])

    async def send(self, notice: Notice, target: JsonValue) -> Answer | None:
        """Post the notice to `url`, signed with each of `secrets` (hexadecimal).

        Raises:
            NotSent: there was no answer, or one that is not of the kind 2xx.
        """
        assert isinstance(target, dict)  # noqa: S101 - made by `errands`
        keys = [bytes.fromhex(str(secret)) for secret in _list(target["secrets"])]
        body = notice.body
        headers = signed_headers(notice.message_id, int(self._now()), body, keys)
        reply = await self.poster.post(str(target["url"]), body, headers)
        if 200 <= reply.status < 300:
            return reply.answer
        raise _refused(reply)


def _list(value: JsonValue) -> list[JsonValue]:
    assert isinstance(value, list)  # noqa: S101 - made by `errands`
    return value


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
