"""The tasks that real workers run in tests. What they do is told by rows and files, which tests wait for."""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import text

from holdfast import Holdfast, JobContext

DEADLINE_SECONDS = 60


def add(job: JobContext, a: int, b: int) -> int:
    return a + b


async def where(job: JobContext) -> list[int]:
    """The process and the event loop a job runs on."""
    await asyncio.sleep(0.05)
    return [os.getpid(), id(asyncio.get_running_loop())]


def keep_secret(job: JobContext, secret: str) -> str:
    return secret


def fail(job: JobContext) -> None:
    raise ValueError("as asked")


def fail_once(job: JobContext) -> int:
    if job.attempt == 1:
        raise ValueError("as asked")
    return job.attempt


def die(job: JobContext) -> None:
    """Take the process along."""
    os.kill(os.getpid(), signal.SIGKILL)


def hide_end(job: JobContext) -> int:
    """Close the pipe by whose end Celery sees that of this process; returns its pid.

    Nobody else writes to that pipe, and Celery has its other end twice.
    """
    ends = Counter((pipe, mode) for _, pipe, mode in pipe_ends(os.getppid()))
    (watched,) = (
        fd
        for fd, pipe, mode in pipe_ends(os.getpid())
        if mode == os.O_WRONLY and ends[pipe, os.O_RDONLY] == 2 and not ends[pipe, os.O_WRONLY]
    )
    os.close(watched)
    return os.getpid()


def pipe_ends(pid):
    """The pipes that a process has open, and how, by their descriptors."""
    process = Path(f"/proc/{pid}")
    for link in process.joinpath("fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            name = str(link.readlink())
            flags = process.joinpath("fdinfo", link.name).read_text().split()[3]
            if name.startswith("pipe:"):
                yield int(link.name), name, int(flags, 8) & os.O_ACCMODE


def work_at(job: JobContext, gate: Path) -> int:
    """Say who is at work, wait until the gate opens, and leave one effect; returns the attempt."""
    arrive(job, gate)
    await_opening(gate)
    leave_effect(job)
    return job.attempt


def work_on_a_connection(job: JobContext, gate: Path) -> int:
    with holdfast.database.session() as session:
        session.execute(text("SELECT 1"))
        arrive(job, gate)
        await_opening(gate)
    return job.attempt


async def work_at_async(job: JobContext, gate: Path) -> int:
    arrive(job, gate)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not gate.exists():  # noqa: ASYNC110, ASYNC240 - the file is another process's sign
            await asyncio.sleep(0.01)
    await asyncio.to_thread(leave_effect, job)
    return job.attempt


def arrive(job, gate):
    job.progress(3, 10, "at the gate")
    mark = gate.with_name(f"{gate.name}.{job.attempt}")
    # Several jobs may stand before one gate.
    draft = mark.with_name(f"{mark.name}.{job.id}")
    draft.write_text(str(os.getpid()))
    draft.replace(mark)


def await_opening(gate):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not gate.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def leave_effect(job):
    with job.transaction() as session:
        session.execute(
            text("INSERT INTO public.effects (job_id, attempt) VALUES (:job, :attempt)"),
            {"job": job.id, "attempt": job.attempt},
        )


async def speak(job: JobContext, words: list[str]) -> None:
    for word in words:
        await job.emit("output.delta", {"text": word})


def register(holdfast):
    """Register all of them, retried at once."""
    for function in (add, where, keep_secret, fail_once, die, work_at, work_at_async, work_on_a_connection):
        holdfast.task(retry_delay=0)(function)
    for function in (fail, hide_end, speak):
        holdfast.task(retries=0)(function)


holdfast = Holdfast()
register(holdfast)
app = holdfast.celery
