"""What a channel is: by what somebody learns of an event.

class Chat:
    name = "chat"

    def check(self, target: JsonValue) -> None:
        if not isinstance(target, str):
            raise InvalidArguments("chat is the name of a room.")

    async def send(self, notice: Notice, target: JsonValue) -> Answer | None:
        await post_into(target, notice.summary)

notifications.add(Chat())       # notify={"chat": "operations"}
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from pydantic import JsonValue

from holdfast.errors import HoldfastError


@dataclass(frozen=True)
class Notice:
    """What is told.

    Attributes:
        id: of the notification; the same at every try, so that a receiver can tell what it has seen.
        event: such as `job.completed`, `batch.ended`.
        at: when that was.
        data: what a webhook carries: the job or batch, without arguments and result.
    """

    id: UUID
    event: str
    at: datetime
    data: dict[str, Any]

    @property
    def message_id(self) -> str:
        """The id as receivers see it."""
        return f"msg_{self.id.hex}"

    @property
    def body(self) -> bytes:
        """The body of a webhook, the same at every try."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        content = {"type": self.event, "timestamp": at, "data": self.data}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def summary(self) -> str:
        """What has happened, in a line."""
        data = self.data
        match self.event.partition(".")[0]:
            case "job":
                return f"Job {data['id']} of {data['task']}: {data['status']}"
            case "batch":
                return f"Batch {data['id']} of {data['total']} jobs has ended"
            case _:
                return self.event


@dataclass(frozen=True)
class Answer:
    """What the receiver said, for the log."""

    status: int | None = None
    text: str = ""


class NotSent(HoldfastError):
    """The notification did not reach its receiver.

    Args:
        message: why.
        code: stable, for programs.
        answer: what the receiver said, if it said something.
        is_final: trying again cannot help.
        is_gone: the receiver wants no more of this endpoint.
        retry_after: do not try again before.
    """

    code = "not_sent"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        answer: Answer | None = None,
        is_final: bool = False,
        is_gone: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.answer = answer
        self.is_final = is_final or is_gone
        self.is_gone = is_gone
        self.retry_after = retry_after


class Channel(Protocol):
    """By what somebody learns of an event: one object, used by many tries at the same time.

    `name` is what `notify` calls it.
    """

    @property
    def name(self) -> str:
        """What `notify` calls it."""
        ...

    def check(self, target: JsonValue) -> object:
        """Look whether a job may name this target, when it is submitted; nothing is asked of the network.

        Raises:
            InvalidArguments: it cannot be one.
        """
        ...

    async def send(self, notice: Notice, target: JsonValue) -> Answer | None:
        """Bring the notice to the target; told again what was told before, if an earlier try is in doubt.

        Raises:
            NotSent: it did not arrive. Whatever else it raises means the same: the next try comes later.
        """
        ...
