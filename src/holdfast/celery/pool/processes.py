"""Tasks that compute, in processes: Celery's own prefork pool, beside the event loop."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.concurrency.prefork import TaskPool

from holdfast.celery.pool.calls import PoolCall


class Processes:
    """A prefork pool that lives in the worker's hub, and is given its calls from the event loop.

    Args:
        app: whose tasks it runs.
        limit: how many processes.
        options: those that the worker gives a pool.
    """

    def __init__(self, app: Celery, limit: int, options: Mapping[str, Any]) -> None:
        self.pool: Any = TaskPool(limit, app=app, **options)
        self._hub: Any = None
        self._in_flight: set[asyncio.Event] = set()

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [pid for pid in self.pool.info.get("processes", []) if pid != os.getpid()]

    def register_with_event_loop(self, hub: Any) -> None:  # noqa: ANN401 - kombu's hub
        """Run in this hub from now on."""
        self._hub = hub
        self.pool.register_with_event_loop(hub)

    async def run(self, call: PoolCall) -> None:
        """Run a call in a process, and wait until it has ended."""
        loop = asyncio.get_running_loop()
        self._in_flight.add(left := asyncio.Event())

        def leave() -> None:
            loop.call_soon_threadsafe(left.set)

        if self._hub is None:  # a broker without an event loop: the pool has threads of its own
            call.hand_on(self.pool, leave)
        else:
            self._hub.call_soon(call.hand_on, self.pool, leave)
        await left.wait()
        self._in_flight.discard(left)

    def flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for nothing that runs: the prefork pool forgets it, and the broker delivers it again."""
        self.pool.flush()
        self._leave_all(loop)

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for what runs, and end the processes."""
        self.pool.stop()
        # What the hub was to hand on, it never will.
        self._leave_all(loop)

    def _leave_all(self, loop: asyncio.AbstractEventLoop) -> None:
        def leave_all() -> None:
            for left in self._in_flight:
                left.set()

        loop.call_soon_threadsafe(leave_all)
