"""What a job does: nothing, or wait for a provider; by `WORK` and `SECONDS` of the environment.

The provider answers after `SECONDS`, or is imitated by a sleep of as long. Asynchronous jobs ask it through
one aiohttp session of their process, the others through one urllib3 pool: clients that cost little, so that
what is compared are the queues.
"""

import asyncio
import os
import time
from functools import cache
from typing import Any

from benchmarks.contenders.marks import BEGUN, ENDED, mark

WORK = os.environ.get("WORK", "nothing")
SECONDS = float(os.environ.get("SECONDS", "0"))


async def work(number: int) -> dict[str, int]:
    """The job as a coroutine; what it returns is its result."""
    mark(BEGUN, number)
    if WORK == "sleep":
        await asyncio.sleep(SECONDS)
    elif WORK == "http":
        async with _session().get(os.environ["PROVIDER"]) as response:
            response.raise_for_status()
            await response.read()
    mark(ENDED, number)
    return {"number": number}


def work_in_thread(number: int) -> dict[str, int]:
    """The job as a plain function."""
    mark(BEGUN, number)
    if WORK == "sleep":
        time.sleep(SECONDS)
    elif WORK == "http":
        response = _pool().request("GET", os.environ["PROVIDER"])
        if response.status != 200:
            raise RuntimeError(f"The provider answered {response.status}.")
    mark(ENDED, number)
    return {"number": number}


@cache
def _session() -> Any:
    import aiohttp

    # One for the process: every contender runs its coroutines on one loop.
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


@cache
def _pool() -> Any:
    import urllib3

    return urllib3.PoolManager(maxsize=1_000)
