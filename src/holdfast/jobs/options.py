"""What an enqueue says of a job besides the task's own arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast
from uuid import UUID

from pydantic import JsonValue

from holdfast.errors import InvalidArguments
from holdfast.jobs.idempotency import check_key
from holdfast.jobs.keys import Owner
from holdfast.jobs.storable import check_storable

PRIORITIES: Final = range(10)
# The limits in time of a job, as task and enqueue call them.
LIMITS: Final = ("timeout", "deadline", "start_by")


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The options of `Task.enqueue`, where they are told; `InvalidArguments` if they cannot be."""

    owner: Owner | UUID | None = None
    delay: timedelta | float | None = None
    run_at: datetime | None = None
    priority: int | None = None
    metadata: Mapping[str, JsonValue] | None = None
    idempotency_key: str | None = None
    timeout: timedelta | float | None = None
    deadline: timedelta | float | None = None
    start_by: timedelta | float | None = None
    notify: Mapping[str, JsonValue] | None = None

    def __post_init__(self) -> None:
        if self.delay is not None and self.run_at is not None:
            raise InvalidArguments("Give delay or run_at, not both.")
        if self.run_at is not None and self.run_at.tzinfo is None:
            raise InvalidArguments(f"run_at must have a time zone, and {self.run_at} has none.")
        if self.priority is not None and self.priority not in PRIORITIES:
            raise InvalidArguments(f"priority is 0 (first) to 9 (last), not {self.priority}.")
        self._check_limits()
        if self.idempotency_key is not None:
            check_key(self.idempotency_key)
        check_metadata(self.metadata)

    def _check_limits(self) -> None:
        for name in LIMITS:
            limit = duration(getattr(self, name))
            if limit is not None and limit <= timedelta():
                raise InvalidArguments(f"{name} is more than 0, not {limit}.")
            if limit is not None and name != "timeout" and limit <= (self.wait or timedelta()):
                raise InvalidArguments(f"{name} is over before the job may start, after {self.wait}.")

    @property
    def owner_id(self) -> UUID | None:
        """The id of the API key the job belongs to."""
        return self.owner.id if isinstance(self.owner, Owner) else self.owner

    @property
    def wait(self) -> timedelta | None:
        """The delay, whichever way it was given."""
        return duration(self.delay)


def duration(given: timedelta | float | None) -> timedelta | None:
    """A duration that may be given in seconds."""
    return timedelta(seconds=given) if isinstance(given, int | float) else given


def check_metadata(metadata: Mapping[str, JsonValue] | None) -> None:
    """Check that metadata can be stored; raises `InvalidArguments`."""
    if metadata is None:
        return
    try:
        check_storable(cast("JsonValue", metadata))
    except ValueError as error:
        raise InvalidArguments(f"metadata: {error}") from error
