"""The first page: how it goes, and how it went."""

import asyncio
import time
from dataclasses import asdict
from typing import Any, Final, Literal

from sqlalchemy import text
from sqlalchemy.orm import Session as SyncSession
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.services import reading, services_of
from holdfast.bounds import COUNTED
from holdfast.dashboard.answers import answer
from holdfast.jobs import counting, queues, workers
from holdfast.jobs.counting import SPANS, Span
from holdfast.jobs.database import Database

_TASKS_SHOWN: Final = 12
# As PostgreSQL has counted it the last time it looked: to count ten million rows takes seconds.
_KEPT = text("SELECT greatest(0, reltuples)::bigint FROM pg_class WHERE oid = 'holdfast.jobs'::regclass")


class Overviews:
    """Each span's overview, made once a second at most however many look at it."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._made: dict[str, tuple[float, dict[str, Any]]] = {}

    async def get(self, database: Database, span: Span) -> dict[str, Any]:
        """The overview; made anew if it is too old, while others who ask wait for the same."""
        async with self._lock:
            made_at, made = self._made.get(span.name, (0.0, None))
            if made is None or time.monotonic() - made_at >= self._seconds:
                async with reading(database) as session:
                    made = await session.run_sync(_overview, span)
                self._made[span.name] = (time.monotonic(), made)
            return made


async def get_overview(request: Request, span: Literal["1h", "24h", "30d"] = "1h") -> Response:
    """Counts, rates and times of a span up to now, what waits and who works."""
    overviews: Overviews = request.app.state.holdfast_overviews
    return answer(await overviews.get(services_of(request).holdfast.database, SPANS[span]))


def _overview(session: SyncSession, span: Span) -> dict[str, Any]:
    return {
        "span": {"name": span.name, "seconds": span.seconds},
        "stretches": [asdict(stretch) for stretch in counting.stretches(session, span)],
        "tasks": [asdict(task) for task in counting.by_task(session, span, most=_TASKS_SHOWN)],
        "queues": [asdict(queue) for queue in queues.list_queues(session)],
        "workers": [asdict(worker) for worker in workers.list_workers(session)],
        "jobs_kept": session.execute(_KEPT).scalar_one(),
        "counted_at_most": COUNTED,
    }
