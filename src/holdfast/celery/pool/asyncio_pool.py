"""The pool itself: which call runs where, and how everything ends."""

import asyncio
import inspect
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from celery import Task
from celery.concurrency.base import BasePool
from celery.exceptions import ImproperlyConfigured

from holdfast.celery.pool.calls import PoolCall
from holdfast.celery.pool.lanes import Lane, Lanes
from holdfast.celery.pool.limits import aside, time_limits
from holdfast.celery.pool.processes import Processes
from holdfast.celery.pool.threads import end_in_thread, trace_in_thread
from holdfast.celery.pool.tracing import TracerThreads, await_in_tracer
from holdfast.celery.pool.watchdog import Watchdog
from holdfast.celery.pool.wear import Wear
from holdfast.jobs.loop import process_loop

log = logging.getLogger(__name__)

# `def` tasks that run at a time, unless Celery's setting `asyncio_pool_threads` says otherwise: threads cost
# memory, and take turns anyway.
THREADS = 32
# Tasks that compute, unless `asyncio_pool_processes` says otherwise: as many as there are processors, and no
# more than this, as a container that may use two of sixty-four sees them all.
MAX_PROCESSES = 8
COLD_SECONDS = 2.0


class AsyncioPool(BasePool):
    """Runs coroutines on one event loop, plain functions in threads, and what computes in processes.

    `limit`, the worker's `-c`, is how many calls run at a time, whatever their kind; of plain functions 32 at
    most (Celery's setting `asyncio_pool_threads`), of tasks with `cpu_bound=True` as many as there are
    processors (`asyncio_pool_processes`). What Celery calls the limits of a
    child, `--max-tasks-per-child` and `--max-memory-per-child`, are those of the worker, the latter also of
    each of its processes: it then drains and ends, and its supervisor starts another.

    A task may have a coroutine method `run_in_pool(call)`, which then runs it in place of Celery's tracer.
    """

    # Stopping waits for what runs.
    signal_safe = False
    body_can_be_buffer = True

    def __init__(self, limit: int, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
        super().__init__(limit, **options)
        if not isinstance(limit, int) or limit < 1:
            raise ImproperlyConfigured(f"The asyncio pool runs 1 task at a time or more, not {limit}.")
        self._loop = process_loop
        most, largest = options.get("maxtasksperchild"), options.get("max_memory_per_child")
        self._wear = Wear(most, largest, lambda: self._pids)
        self._is_worn_out = False
        self._nothing_runs = threading.Event()
        self._nothing_runs.set()
        self._processes: Processes | None = None
        self._watchdog = Watchdog(self._loop)
        self._tracers: TracerThreads | None = None
        self._lanes = Lanes(limit, self._lanes_for(limit))
        #: Called on the event loop whenever a place was taken or given back.
        self.on_change: Callable[[], object] = lambda: None
        #: Whether a call came without a message, so that nobody would deliver it again.
        self.has_no_message: Callable[[PoolCall], bool] = lambda _call: False

    def _lanes_for(self, limit: int) -> dict[str, Lane]:
        settings: Mapping[str, Any] = {} if self.app is None else self.app.conf
        self._threads = settings.get("asyncio_pool_threads") or THREADS
        processes = settings.get("asyncio_pool_processes") or min(os.cpu_count() or 1, MAX_PROCESSES)
        return {
            "task": Lane(limit, self._run_itself),
            "coroutine": Lane(limit, self._run_coroutine),
            "thread": Lane(min(limit, self._threads), self._run_in_thread),
            "process": Lane(min(limit, processes), self._run_in_process),
        }

    def on_start(self) -> None:
        """Start what there are tasks for; processes first, as long as there are no threads."""
        tasks = list(self.app.tasks.values())
        if any(_computes(task) for task in tasks):
            self._processes = Processes(self.app, self._lanes.lanes["process"].limit, self._process_options())
            self._processes.pool.start()
        # Before the consumer starts, which builds their tracers.
        lanes = {self._lane_for(task) for task in tasks}
        if not lanes & {"coroutine", "task"}:
            log.warning(
                "No task of this app is async: they run in threads, %d at a time, and Celery's threads pool "
                "does as much for them.",
                self._lanes.lanes["thread"].limit,
            )
        self._tracers = TracerThreads()
        self._watchdog.start()

    def _process_options(self) -> dict[str, Any]:
        own = {"maxtasksperchild": None, "max_memory_per_child": None, "putlocks": False}
        return {**self.options, **own, "forking_enable": self.forking_enable}

    def on_apply(  # type: ignore[override]
        self,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,  # noqa: ANN401 - Celery's own signature
    ) -> PoolCall:
        """Run a call as soon as there is a place for it. Returns at once, in any thread."""
        # What Celery gives a pool itself are the limits of the worker, for tasks without their own.
        for limit in ("soft_timeout", "timeout"):
            options[limit] = options.get(limit) or self.options.get(limit)
        call = PoolCall(target, args, kwargs or {}, **options)
        if threading.get_ident() == self._loop.thread_id:
            self._put(call)
        else:
            self._loop.loop.call_soon_threadsafe(self._put, call)
        return call

    def _put(self, call: PoolCall) -> None:
        self._lanes.put(self._lane_of(call), call)
        self._start_ready()
        self.on_change()

    def _lane_of(self, call: PoolCall) -> str:
        task = self.app.tasks.get(call.name)
        return "thread" if task is None else self._lane_for(task)

    def _lane_for(self, task: Task[Any, Any]) -> str:
        if self._processes is not None and _computes(task):
            return "process"
        if hasattr(task, "run_in_pool"):
            return "task"
        if await_in_tracer(task, self._loop):
            return "coroutine"
        end_in_thread(task)
        return "thread"

    def _start_ready(self) -> None:
        for lane, call in self._lanes.ready():
            self._nothing_runs.clear()
            asyncio.create_task(self._run(lane, call), name=f"{call.name}[{call.id}]")  # noqa: RUF006 - its lane keeps the call, and the loop what runs

    async def _run(self, lane: Lane, call: PoolCall) -> None:
        try:
            await lane.run(call)
        except BaseException as error:
            await aside(partial(call.lose, error))
            raise
        finally:
            self._lanes.leave(lane, call)
            self._wear_out()
            self._start_ready()
            if not self._lanes.running:
                self._nothing_runs.set()
            self.on_change()

    async def _run_itself(self, call: PoolCall) -> None:
        await self.app.tasks[call.name].run_in_pool(call)

    async def _run_coroutine(self, call: PoolCall) -> None:
        assert self._tracers is not None  # noqa: S101 - the pool was started
        await self._run_traced(call, self._tracers.trace)

    async def _run_in_thread(self, call: PoolCall) -> None:
        await self._run_traced(call, trace_in_thread)

    async def _run_traced(
        self, call: PoolCall, trace: Callable[[PoolCall, Callable[[], object]], object]
    ) -> None:
        loop = asyncio.get_running_loop()
        left = asyncio.Event()

        def leave() -> None:
            loop.call_soon_threadsafe(left.set)

        with time_limits(call, leave):
            trace(call, leave)
            await left.wait()

    async def _run_in_process(self, call: PoolCall) -> None:
        assert self._processes is not None  # noqa: S101 - its lane is used where there are some
        await self._processes.run(call)

    def _wear_out(self) -> None:
        """End the worker when it has done as much as it should, or has grown as large as it may."""
        why = self._wear.count()
        if why is None or self._is_worn_out:
            return
        self._is_worn_out = True
        log.warning("This worker ends, to be started anew, as %s", why)
        os.kill(os.getpid(), signal.SIGTERM)

    def on_stop(self) -> None:
        """Start nothing more, and wait for what runs.

        At a cold shutdown Celery calls this as well, when it has told everything to end.
        """
        self._close()
        if self._processes is not None:
            # The hub stands still meanwhile: nobody but the pool itself hears of what ends there.
            self._processes.stop(self._loop.loop)
        while not self._nothing_runs.wait(COLD_SECONDS):
            # A function that waits in C hears nothing.
            if all(call.is_terminated for call in self._lanes.all_running()):
                break
        self._watchdog.stop()

    def on_terminate(self) -> None:
        """Make everything leave, and wait a moment for it."""
        self._close()
        for call in self._lanes.all_running():
            call.terminate()
        self._nothing_runs.wait(COLD_SECONDS)
        self._watchdog.stop()
        if self._processes is not None:
            self._processes.pool.terminate()

    def _close(self) -> None:
        closed = threading.Event()

        def close() -> None:
            self._lanes.close()
            if not self._lanes.running:
                self._nothing_runs.set()
            closed.set()

        self._loop.loop.call_soon_threadsafe(close)
        # A loop that is blocked starts nothing either.
        closed.wait(COLD_SECONDS)

    def on_close(self) -> None:
        """The worker takes no more messages."""
        if self._processes is not None:
            self._processes.pool.close()

    def terminate_job(self, pid: int, signal: Any = None) -> None:  # noqa: ANN401 - Celery's own signature
        """End a task by its process; those of this process are ended one by one, by `PoolCall.terminate`."""
        if self._processes is not None and pid != os.getpid():
            self._processes.pool.terminate_job(pid, signal)

    def grow(self, count: int = 1) -> None:
        """Run more at a time."""
        self._resize(self.limit + count)

    def shrink(self, count: int = 1) -> None:
        """Run fewer at a time; what runs runs on."""
        self._resize(max(1, self.limit - count))

    def _resize(self, limit: int) -> None:
        self.limit = limit

        def resize() -> None:
            self._lanes.limit = limit
            for name, most in (("task", limit), ("coroutine", limit), ("thread", self._threads)):
                self._lanes.lanes[name].limit = min(limit, most)
            self._start_ready()

        self._loop.loop.call_soon_threadsafe(resize)

    def register_with_event_loop(self, loop: Any) -> None:  # noqa: ANN401 - kombu's hub
        """Run what has processes in the worker's hub."""
        if self._processes is not None:
            self._processes.register_with_event_loop(loop)

    def did_start_ok(self) -> bool:
        """Whether the processes came up."""
        return self._processes is None or bool(self._processes.pool.did_start_ok())

    def maintain_pool(self, *_args: object, **_kwargs: object) -> None:
        """Replace processes that have died."""
        if self._processes is not None:
            self._processes.pool.maintain_pool()

    def flush(self) -> None:
        """Forget what waits, after the connection was lost: the broker delivers it again.

        Not what runs itself, which finds out when it is delivered twice.
        """
        self._loop.loop.call_soon_threadsafe(
            self._lanes.forget, lambda call: self._lane_of(call) == "task" or self.has_no_message(call)
        )
        if self._processes is not None:
            self._processes.flush(self._loop.loop)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is started any more."""
        return self._lanes.is_closed

    def free(self, lane: str) -> int:
        """How many more calls of a lane could run now, those that wait taken off. Read on the event loop."""
        return self._lanes.free(lane)

    @property
    def unacknowledged(self) -> int:
        """How many calls run whose messages are acknowledged at their end. Read on the event loop."""
        return self._lanes.running - len(self._lanes.lanes["task"].running)

    @property
    def _pids(self) -> list[int]:
        return [] if self._processes is None else self._processes.pids

    def _get_info(self) -> dict[str, Any]:
        lanes = self._lanes.lanes
        return {
            **super()._get_info(),  # type: ignore[misc]
            "processes": self._pids,
            "running": {name: len(lane.running) for name, lane in lanes.items()},
            "waiting": {name: len(lane.waiting) for name, lane in lanes.items()},
            "blocked the loop": dict(self._watchdog.blocked),
        }


def _computes(task: Task[Any, Any]) -> bool:
    if not getattr(task, "cpu_bound", False):
        return False
    if inspect.iscoroutinefunction(task.run):
        raise ImproperlyConfigured(f"{task.name} is async and cpu_bound, but a process awaits no coroutine.")
    return True
