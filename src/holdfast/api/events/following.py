"""Those who follow all jobs of an API key."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from holdfast.api.events.stream import Stream, frame
from holdfast.api.events.watched import Watched
from holdfast.jobs import events
from holdfast.jobs.ids import first_id
from holdfast.jobs.lifecycle import Change
from holdfast.states import JobStatus

# Jobs of one key that have not ended and are looked at again and again. What is told of the others at once
# is told all the same.
MOST_OPEN: Final = 5_000
_MOST_ENDED: Final = 10_000
# New jobs are looked for so far back: an id is made before its transaction commits.
_OVERLAP: Final = timedelta(seconds=10)


@dataclass(frozen=True, eq=False)
class Follower:
    """One client, and what it wants to hear of."""

    stream: Stream
    task: str | None = None
    status: JobStatus | None = None

    def wants(self, task: str, status: JobStatus) -> bool:
        """Whether it wants to hear of a job of this task that stands so now."""
        return self.task in (None, task) and self.status in (None, status)


@dataclass(eq=False)
class Following:
    """The followers of one owner, and how far they were told of each of the jobs.

    Attributes:
        told: the newest change of each unfinished job that was told.
        looked_to: the newest id of a look for new jobs that has not seen all of them.
    """

    owner_id: UUID
    followers: set[Follower] = field(default_factory=set)
    told: dict[UUID, int] = field(default_factory=dict)
    _ended: dict[UUID, None] = field(default_factory=dict)
    looked_to: UUID | None = None

    @property
    def looks_from(self) -> UUID:
        """The id after which to look for new jobs."""
        return self.looked_to or first_id(datetime.now(UTC) - _OVERLAP)

    def open(self, watched: Watched, told_id: int) -> list[UUID]:
        """Tell of this job from now on, after that change; returns the jobs that it is one too many for."""
        watched.following = self
        self.told[watched.job_id] = told_id
        surplus = list(self.told)[: max(0, len(self.told) - MOST_OPEN)]
        for job_id in surplus:
            del self.told[job_id]
        return surplus

    def unknown(self, job_ids: Iterable[UUID]) -> list[UUID]:
        """Those of these jobs that nothing was told of yet."""
        return [job_id for job_id in job_ids if job_id not in self.told and job_id not in self._ended]

    def tell(self, job_id: UUID, task: str, changes: Iterable[Change]) -> None:
        """Tell of what has become of a job since it was told of."""
        told_id = self.told.get(job_id, 0)
        for change in changes:
            if change.id > told_id:
                self._push(change.name, {"job_id": job_id, "task": task, **change.data}, change.status)
                self.told[job_id] = change.id
                if change.is_end:
                    self._close(job_id)

    def tell_progress(self, job_id: str, task: str, attempt: int, progress: Mapping[str, Any]) -> None:
        """Tell how far a job is."""
        status = JobStatus.PROCESSING
        told = {"job_id": job_id, "task": task, "status": status, "attempt": attempt, "progress": progress}
        self._push(events.PROGRESS, told, status)

    def _close(self, job_id: UUID) -> None:
        del self.told[job_id]
        self._ended[job_id] = None
        if len(self._ended) > _MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def _push(self, name: str, told: dict[str, Any], status: JobStatus) -> None:
        wanting = [follower for follower in self.followers if follower.wants(told["task"], status)]
        if wanting:
            data = frame(None, name, orjson.dumps(told, option=orjson.OPT_UTC_Z))
            for follower in wanting:
                follower.stream.push(None, data)
