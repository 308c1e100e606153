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


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The options of `Task.enqueue`, where they are told; `InvalidArguments` if they cannot be."""

    owner: Owner | UUID | None = None
    delay: timedelta | float | None = None
    run_at: datetime | None = None
    priority: int | None = None
    metadata: Mapping[str, JsonValue] | None = None
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        if self.delay is not None and self.run_at is not None:
            raise InvalidArguments("Give delay or run_at, not both.")
        if self.run_at is not None and self.run_at.tzinfo is None:
            raise InvalidArguments(f"run_at must have a time zone, and {self.run_at} has none.")
        if self.priority is not None and self.priority not in PRIORITIES:
            raise InvalidArguments(f"priority is 0 (first) to 9 (last), not {self.priority}.")
        if self.idempotency_key is not None:
            check_key(self.idempotency_key)
        check_metadata(self.metadata)

    @property
    def owner_id(self) -> UUID | None:
        """The id of the API key the job belongs to."""
        return self.owner.id if isinstance(self.owner, Owner) else self.owner

    @property
    def wait(self) -> timedelta | None:
        """The delay, whichever way it was given."""
        return timedelta(seconds=self.delay) if isinstance(self.delay, int | float) else self.delay


def check_metadata(metadata: Mapping[str, JsonValue] | None) -> None:
    """Check that metadata can be stored; raises `InvalidArguments`."""
    if metadata is None:
        return
    try:
        check_storable(cast("JsonValue", metadata))
    except ValueError as error:
        raise InvalidArguments(f"metadata: {error}") from error
