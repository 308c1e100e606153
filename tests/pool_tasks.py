"""A Celery app that knows nothing of Holdfast but its pool; its tasks tell by files what they do."""

import asyncio
import functools
import json
import os
import time
from collections import defaultdict
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

from celery import Celery, Task, current_task, signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from pydantic import BaseModel

DEADLINE_SECONDS = 30
FOLDER = Path(os.environ["POOL_FOLDER"])

app = Celery("pool_tasks", broker=os.environ["POOL_BROKER"], backend=os.environ["POOL_BACKEND"])
app.conf.update(json.loads(os.environ["POOL_CONFIGURATION"]))
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)


class Crowd:
    """Those that are in flight in this process, until as many have met under one name as each waits for."""

    def __init__(self):
        self.members = 0
        self.most = 0
        self.waiting = defaultdict(list)

    async def meet(self, name, size):
        self.members += 1
        self.most = max(self.most, self.members)
        self.waiting[name].append(met := asyncio.Event())
        if len(self.waiting[name]) == size:
            for each in self.waiting.pop(name):
                each.set()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await met.wait()
        finally:
            self.members -= 1
        return self.most


crowd = Crowd()


def note(file, text):
    """Add a line, in one write."""
    with (FOLDER / file).open("a", buffering=1) as lines:
        lines.write(f"{text}\n")


async def arrive(name):
    """Say that this one is there, and wait until it may go on."""
    note(f"{name}.arrived", os.getpid())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (FOLDER / f"{name}.open").exists():  # noqa: ASYNC110 - the file is another process's sign
            await asyncio.sleep(0.01)


def wait_at(name):
    note(f"{name}.arrived", os.getpid())
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (FOLDER / f"{name}.open").exists():
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.01)


@app.task
async def add(x, y):
    await asyncio.sleep(0)
    return x + y


@app.task
def add_all(numbers):
    return sum(numbers)


@app.task
async def meet(name, size):
    """How many have been in flight at once, at most; ends when `size` have met."""
    return await crowd.meet(name, size)


@app.task(bind=True)
async def who(self, name, size):
    """What Celery says who this is: at the beginning, while many wait, and in a task of asyncio's own."""

    def names():
        return [current_task.request.id if current_task else None, self.request.id]

    before = names()
    await crowd.meet(name, size)
    return {"before": before, "after": names(), "child": await asyncio.create_task(_later(names))}


async def _later(function):
    return function()


@app.task
async def traced():
    """The context variable that a signal handler has set."""
    await asyncio.sleep(0)
    return [trace_id.get(), await asyncio.create_task(_later(trace_id.get))]


@app.task
async def at_gate(name):
    await arrive(name)
    note(f"{name}.done", "done")
    return name


@app.task
def at_gate_in_thread(name):
    wait_at(name)
    note(f"{name}.done", "done")
    return name


@app.task
def sleep_in_thread():
    note("asleep", "asleep")
    time.sleep(DEADLINE_SECONDS)


@app.task(cpu_bound=True)
def at_gate_in_process(name):
    wait_at(name)
    return os.getpid()


@app.task(bind=True)
async def double(self, x):
    await asyncio.sleep(0)
    return [self.name, current_task.name, 2 * x]


@app.task(acks_late=False)
async def at_gate_acknowledged(name):
    await arrive(name)
    return name


class RunsItself(Task):
    """Has no tracer, as Holdfast's tasks have none."""

    async def run_in_pool(self, call):
        call.accept()
        await arrive(call.id)
        raise ValueError("lost")


@app.task(base=RunsItself)
def lose_itself():
    raise AssertionError("The pool calls run_in_pool.")


@app.task
async def hold_tracer(name):
    """A handler of `task_prerun` waits for it at the gate."""
    return name


@app.task
async def fail(what):
    await asyncio.sleep(0)
    errors = {
        "SystemExit": SystemExit,
        "KeyboardInterrupt": KeyboardInterrupt,
        "GeneratorExit": GeneratorExit,
        "CancelledError": asyncio.CancelledError,
        "MemoryError": MemoryError,
        "ValueError": ValueError,
    }
    raise errors[what](what)


@app.task
def fail_in_thread(what):
    raise {"SystemExit": SystemExit, "MemoryError": MemoryError}[what](what)


@app.task
async def cancel_itself():
    asyncio.current_task().cancel()
    try:
        await asyncio.sleep(DEADLINE_SECONDS)
    except asyncio.CancelledError:
        return "swallowed"


@app.task(soft_time_limit=0.2)
async def catch_soft_limit():
    try:
        await asyncio.sleep(DEADLINE_SECONDS)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0)  # it may still wait
        return "caught"


@app.task(soft_time_limit=0.2)
async def overstay(name):
    """Wait in a task group, whose other task says whether it was ended."""

    async def other():
        try:
            await asyncio.sleep(DEADLINE_SECONDS)
        except asyncio.CancelledError:
            note(f"{name}.ended", "ended")
            raise

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(other())


@app.task(time_limit=0.3)
async def ignore_everything():
    """Go on, whatever comes."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(DEADLINE_SECONDS)
    await asyncio.sleep(DEADLINE_SECONDS)


@app.task(time_limit=0.3)
def outlast_in_thread(name):
    """Swallow what is raised here, and end well when the worker has given up."""
    for _ in range(2):
        try:
            wait_at(name)
        except SoftTimeLimitExceeded:
            note(f"{name}.interrupted", "interrupted")
    note(f"{name}.done", "done")
    return "too late"


@app.task
async def wait_long():
    await asyncio.sleep(DEADLINE_SECONDS)


@app.task(soft_time_limit=0.2)
def catch_soft_limit_in_thread():
    try:
        wait_at("nowhere")
    except SoftTimeLimitExceeded:
        return "caught"


@app.task
async def block(seconds):
    time.sleep(seconds)  # noqa: ASYNC251 - what nobody should do


@app.task(bind=True, autoretry_for=(ValueError,), retry_backoff=True, retry_backoff_max=1, max_retries=3)
async def retry_by_itself(self):
    await asyncio.sleep(0)
    if self.request.retries < 2:
        raise ValueError("not yet")
    return self.request.retries


@app.task(bind=True, max_retries=2)
async def retry_when_told(self, times):
    await asyncio.sleep(0)
    if self.request.retries < times:
        raise self.retry(countdown=0, exc=ValueError("never"))
    return self.request.retries


@app.task(ignore_result=True)
async def without_result(name):
    note(f"{name}.done", "done")
    return "unheard"


@app.task(bind=True)
async def ignore(self):
    self.update_state(state="ELSEWHERE")
    raise Ignore


@app.task(bind=True)
async def reject(self, name):
    note(f"{name}.tries", "try")
    if not self.request.delivery_info["redelivered"]:
        raise Reject("not now", requeue=True)
    return "again"


@app.task(bind=True)
async def replace(self, x):
    await asyncio.sleep(0)
    return self.replace(add.s(x, 10))


@app.task
async def hear_of(request, error, traceback):
    note(f"{request.id}.errback", type(error).__name__)


def plainly_decorated(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


@app.task
@plainly_decorated
async def decorated():
    await asyncio.sleep(0)
    return "awaited"


class Point(BaseModel):
    x: int


@app.task(pydantic=True)
async def move(point: Point) -> dict:
    await asyncio.sleep(0)
    return {"x": point.x + 1}


@app.task(bind=True)
async def show_progress(self, name):
    self.update_state(state="PROGRESS", meta={"done": 1})
    await arrive(name)


@app.task
async def tick(name):
    """Say again and again that the event loop is free, until the gate opens."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (FOLDER / f"{name}.open").exists():
            note(f"{name}.ticks", "tick")
            await asyncio.sleep(0.02)


@signals.task_prerun.connect
def begin_trace(task_id, **_):
    trace_id.set(task_id)


@signals.task_prerun.connect
def hold(task, args, **_):
    if task.name == hold_tracer.name:
        wait_at(args[0])


def _record(name):
    def handler(sender=None, task_id=None, request=None, **_):
        task_id = task_id or getattr(request, "id", None) or current_task.request.id
        note("signals", json.dumps([str(task_id), name, sender.name]))

    return handler


# Celery keeps weak references to handlers.
RECORDERS = {name: _record(name) for name in ("prerun", "postrun", "success", "failure", "retry", "revoked")}
for signal_name, recorder in RECORDERS.items():
    getattr(signals, f"task_{signal_name}").connect(recorder)
