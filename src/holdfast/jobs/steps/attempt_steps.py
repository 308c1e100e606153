"""The steps of one attempt: what was saved is given back, the rest is run and saved.

What is promised, whatever is killed when:

- a step is saved only by the attempt that holds the job, and never a later one without every earlier one;
- a step whose function waited for anything, or took 10 ms or more, is durable before its result is given to
  the task. One that was quick and has merely computed is saved within 50 ms, together with others; a crash
  before that makes it compute again;
- a function that is not known to be quick starts when all steps before it are durable. What it does outside
  then rests on nothing that a crash could change;
- a transaction, too, and the end of the attempt come after all steps before them, however it ends.
"""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from holdfast.errors import StaleAttempt
from holdfast.jobs.database import Database
from holdfast.jobs.patience import patiently
from holdfast.jobs.process import PerProcess
from holdfast.jobs.steps import saved as saved_steps
from holdfast.jobs.steps.calls import Call, Places, misuse
from holdfast.jobs.steps.fingerprints import function_part, name_of
from holdfast.jobs.steps.measured import Measured, measure, measure_async
from holdfast.jobs.steps.saved import NewStep, Place, SavedStep
from holdfast.jobs.steps.writer import PATIENCE, Line, StepWriter
from holdfast.jobs.store import Claim

P = ParamSpec("P")
T = TypeVar("T")

SLOW_SECONDS: Final = 0.01
MAX_SECONDS_BEHIND: Final = 0.05
THREADS: Final = 64

_threads = PerProcess(lambda: ThreadPoolExecutor(THREADS, "holdfast-step"))
# The functions that took less than `SLOW_SECONDS` and did not wait when they last ran here.
_quick: set[bytes] = set()
_is_inside: ContextVar[bool] = ContextVar("holdfast_is_inside_a_step", default=False)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a thread, with the caller's context variables."""
    call = partial(copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_threads.get(), call)


def check_no_loop(name: str) -> None:
    """Refuse to block an event loop; raises `PermanentError` (code `step_misuse`)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise misuse(f"{name}_sync would block the event loop; an async def task awaits job.{name}.")


async def _measured(call: Call) -> Measured:
    if call.is_async:
        return await measure_async(call.run)
    ran = await in_thread(measure, call.run)
    if inspect.isawaitable(ran.value):  # such as `lambda: client.get(url)`
        return await measure_async(lambda: ran.value)
    return ran


class Steps:
    """The steps of one attempt.

    Args:
        claim: the attempt's hold on its job.
        database: where saved steps are read from.
        writer: gives that of this process.
        check: raises if the task should stop.
        on_stale: called when it is found that the job has moved on.
    """

    def __init__(
        self,
        claim: Claim,
        database: Database,
        writer: Callable[[], StepWriter],
        check: Callable[[], None],
        on_stale: Callable[[], object],
    ) -> None:
        self._claim = claim
        self.origin_id = claim.origin_id or claim.id
        self._database = database
        self._writer = writer
        self._check = check
        self._on_stale = on_stale
        self.places = Places()
        self._line = Line()
        self._saved: dict[Place, SavedStep] = {}
        self._is_loaded = claim.attempt == 1 and self.origin_id == claim.id
        self._loading = threading.Lock()
        self._given: set[Place] = set()
        self._under_way: dict[object, Future[None]] = {}
        self._is_closed = False
        self._lock = threading.Lock()

    async def run(self, call: Call) -> Any:  # noqa: ANN401 - the type is the function's
        """The step's value: the saved one, or that of its function, saved."""
        with self.under_way(call):
            saved = await self.look_async(call.place)
            if saved is None:
                if self._must_flush(call):
                    await self.flush_async()
                saved = self._keep(call, await _measured(call))
                if self._must_flush(call):
                    await self.flush_async()
            return call.load(saved)

    def run_sync(self, call: Call) -> Any:  # noqa: ANN401 - the type is the function's
        """As `run`, in a thread without an event loop."""
        if call.is_async:
            raise misuse(f"{name_of(call.function)} is async; the steps of a def task are def as well.")
        with self.under_way(call):
            saved = self.look(call.place)
            if saved is None:
                if self._must_flush(call):
                    self.flush()
                saved = self._keep(call, measure(call.run))
                if self._must_flush(call):
                    self.flush()
            return call.load(saved)

    @contextmanager
    def under_way(self, call: Call) -> Iterator[None]:
        """Run this step, and no other in its place at the same time.

        Raises:
            JobCancelled, StaleAttempt: the task should stop.
            PermanentError: the step is under way already (code `step_misuse`).
        """
        self.check()
        place = call.place
        with self._lock:
            if place in self._under_way:
                raise misuse(
                    f"Step {place.name!r} (key {place.key!r}) is under way already; steps that run at the "
                    "same time need a name or a key of their own."
                )
            self._under_way[place] = Future()
        token = _is_inside.set(True)
        try:
            yield
        except BaseException:
            self.places.give_back(place)
            raise
        finally:
            _is_inside.reset(token)
            self._end(place)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Do something besides steps that is worth to wait for before the task is left."""
        work = object()
        with self._lock:
            self._under_way[work] = Future()
        try:
            yield
        finally:
            self._end(work)

    def _end(self, work: object) -> None:
        with self._lock:
            ended = self._under_way.pop(work)
        ended.set_result(None)

    def check(self) -> None:
        """Leave the task here if it should stop, or if a step could not be saved."""
        if self._is_closed:
            raise StaleAttempt
        self._check()
        if self._line.failure is not None:
            raise self._line.failure

    def stale(self) -> StaleAttempt:
        """The error of an attempt that finds that it has lost its job, which is told to leave by it."""
        self._on_stale()
        return StaleAttempt()

    async def look_async(self, place: Place) -> SavedStep | None:
        """As `look`; only what has to wait for PostgreSQL leaves the event loop."""
        if self._is_loaded and place not in self._given:
            return self.look(place)
        return await in_thread(self.look, place)

    def look(self, place: Place) -> SavedStep | None:
        """What was saved at this place, by an earlier attempt or by this one."""
        with self._loading:
            if not self._is_loaded:
                self._saved = self._read(lambda session: saved_steps.load(session, self.origin_id))
                self._is_loaded = True
        saved = self._saved.pop(place, None)
        if saved is None and place in self._given:
            # Not kept in memory: the results of a long job are many, and few are asked for twice.
            self.flush()
            saved = self.find(place)
        self._given.add(place)
        return saved

    def find(self, place: Place) -> SavedStep | None:
        """What PostgreSQL has at this place."""
        return self._read(lambda session: saved_steps.find(session, self.origin_id, place))

    async def flush_async(self) -> None:
        """As `flush`, on an event loop."""
        if (last := self._last()) is not None:
            await asyncio.shield(asyncio.wrap_future(last))

    def flush(self) -> None:
        """Wait until every step is durable.

        Raises:
            StaleAttempt: the job has moved on without this attempt.
            PermanentError: PostgreSQL refused a result (code `invalid_result`).
        """
        if (last := self._last()) is not None:
            last.result()

    async def come_to_rest(self) -> None:
        """Wait until no step of the attempt is under way, so that none is left half done by leaving."""
        self.check_not_inside()
        while running := list(self._under_way.values()):
            await asyncio.wait([asyncio.wrap_future(ended) for ended in running])
            for _ in range(3):  # to let those who waited for a step come to their next
                await asyncio.sleep(0)

    def check_not_inside(self) -> None:
        """Refuse to leave the task from within a step; raises `PermanentError` (code `step_misuse`)."""
        if _is_inside.get():
            raise misuse("A step cannot wait for children: gather belongs into the task itself.")

    def close(self) -> Exception | None:
        """Refuse further steps and wait until all are durable; returns why one is not, if so."""
        with self._lock:
            self._is_closed = True
        if not self._line.is_empty:
            self._writer().hurry()
            wait_for_futures([self._line.last])
        return self._line.failure

    async def close_async(self) -> Exception | None:
        """As `close`, on an event loop."""
        with self._lock:
            self._is_closed = True
        if not self._line.is_empty:
            self._writer().hurry()
            await asyncio.wait([asyncio.wrap_future(self._line.last)])
        return self._line.failure

    def new(self, call: Call, result: str, seconds: float) -> NewStep:
        """The step of a function that took so long and ended just now, as it is saved."""
        claim = self._claim
        return NewStep(
            job_id=claim.id,
            attempt=claim.attempt,
            origin_id=self.origin_id,
            place=call.place,
            fingerprint=call.fingerprint,
            result=result,
            seconds=seconds,
            ended_at=time.monotonic(),
        )

    def _keep(self, call: Call, ran: Measured) -> SavedStep:
        step = self.new(call, call.result.dump(ran.value), ran.seconds)
        is_quick = ran.seconds < SLOW_SECONDS and not ran.has_waited
        (_quick.add if is_quick else _quick.discard)(function_part(call.fingerprint))
        with self._lock:
            if self._is_closed:
                raise StaleAttempt
            self._writer().put(step, self._line)
        return SavedStep(step.fingerprint, step.result)

    def _must_flush(self, call: Call) -> bool:
        """Whether all steps must be durable: before a function that may be slow, and after one that was."""
        if self._line.is_empty:
            return False
        is_quick = function_part(call.fingerprint) in _quick
        return not is_quick or self._line.seconds_behind > MAX_SECONDS_BEHIND

    def _last(self) -> "Future[None] | None":
        if self._line.failure is not None:
            raise self._line.failure
        if self._line.is_empty:
            return None
        last = self._line.last
        self._writer().hurry()
        return last

    def _read(self, read: Callable[[Any], T]) -> T:
        def operation() -> T:
            with self._database.session() as session:
                return read(session)

        return patiently(operation, patience=PATIENCE)
