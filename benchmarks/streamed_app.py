"""Jobs that say when they say something, for the part `streams`."""

import asyncio
import random
import time

from holdfast import Holdfast, JobContext

holdfast = Holdfast()


@holdfast.task
async def speak(job: JobContext, pause: float, seconds: float) -> None:
    """Emit about once in so many seconds, for so many seconds."""
    ends_at = time.monotonic() + seconds
    await asyncio.sleep(random.uniform(0, pause))
    while time.monotonic() < ends_at:
        # The clock that all processes of a machine share.
        await job.emit("said", {"at": time.monotonic_ns()})
        await asyncio.sleep(pause)
