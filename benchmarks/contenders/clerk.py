"""What is asked of an app from outside: `python -m benchmarks.contenders.apps.<app> COMMAND`.

prepare                 make its tables
fill FIRST COUNT        enqueue jobs, in bulk where it can
lone FIRST COUNT        enqueue one job after another, each when the last has ended and a while has passed
steady FIRST RATE SECS  enqueue one by one at random times (Poisson), whether or not earlier ones have ended
kept                    print how many finished jobs it can tell of
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.marks import SUBMITTED, mark, written

# Spaced unevenly, so that samples do not fall into step with anything that happens periodically.
PAUSE_SECONDS = (0.05, 0.25)
LOOK_SECONDS = 0.005
PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Clerk:
    """An app's answers to the commands, each a coroutine function.

    Attributes:
        submit: enqueue the job with this number.
        submit_many: enqueue these.
        kept: how many finished jobs it can tell of.
    """

    submit: Callable[[int], Awaitable[object]]
    submit_many: Callable[[range], Awaitable[object]]
    kept: Callable[[], Awaitable[int]]


def run(prepare: Callable[[], Awaitable[object]], opened: AbstractAsyncContextManager[Clerk]) -> None:
    """Carry out the command line."""
    command, *arguments = sys.argv[1:]
    if command == "prepare":
        asyncio.run(_awaited(prepare))
    else:
        asyncio.run(_carried_out(opened, command, [float(each) for each in arguments]))


async def _awaited(prepare: Callable[[], Awaitable[object]]) -> None:
    await prepare()


async def _carried_out(
    opened: AbstractAsyncContextManager[Clerk], command: str, arguments: list[float]
) -> None:
    async with opened as clerk:
        match command, arguments:
            case "fill", [first, count]:
                await clerk.submit_many(range(int(first), int(first + count)))
            case "lone", [first, count]:
                await _lone(clerk, int(first), int(count))
            case "steady", [first, rate, seconds]:
                await _steady(clerk, int(first), rate, seconds)
            case "kept", []:
                print(await clerk.kept())
            case _:
                raise SystemExit(__doc__)


async def _lone(clerk: Clerk, first: int, count: int) -> None:
    rng = random.Random(first)
    marks = Path(os.environ["MARKS"])
    for number in range(first, first + count):
        before = written(marks)
        mark(SUBMITTED, number)
        await clerk.submit(number)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while written(marks) < before + 3:  # submitted, begun, ended
            if time.monotonic() > deadline:
                raise SystemExit(f"Job {number} has not ended after {PATIENCE_SECONDS} s.")
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(rng.uniform(*PAUSE_SECONDS))


async def _steady(clerk: Clerk, first: int, rate: float, seconds: float) -> None:
    rng = random.Random(first)
    number, due = first, time.monotonic()
    end = due + seconds
    # By the clock: where submitting takes longer than there is time, fewer are submitted.
    while time.monotonic() < end:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        mark(SUBMITTED, number)
        await clerk.submit(number)
        number += 1
        due += rng.expovariate(rate)
