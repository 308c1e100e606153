"""What a function did while it ran: how long it took, and whether it waited for anything.

A function that has merely computed can be run again at no cost. One that has waited, for a network, a disk or
a lock, may have done something outside that must not be done twice.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

_OF_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)
# Where the system does not count the waits of a thread: time that it did not compute.
_WAIT_SECONDS = 0.000_1


@dataclass(frozen=True)
class Measured:
    """What a function returned, and how it came to it."""

    value: Any
    seconds: float
    has_waited: bool


def measure(function: Callable[[], Any]) -> Measured:
    """Call a function in this thread."""
    waits, computed, began = _waits(), time.thread_time(), time.monotonic()
    value = function()
    seconds = time.monotonic() - began
    if _OF_THREAD is not None:
        return Measured(value, seconds, _waits() > waits)
    return Measured(value, seconds, seconds - (time.thread_time() - computed) > _WAIT_SECONDS)


async def measure_async(function: Callable[[], Awaitable[Any]]) -> Measured:
    """Call a function on this event loop; it has waited if the loop had time for anything else."""
    passed: list[bool] = []
    turn = asyncio.get_running_loop().call_soon(passed.append, True)
    began = time.monotonic()
    try:
        value = await function()
    finally:
        turn.cancel()
    return Measured(value, time.monotonic() - began, bool(passed))


def _waits() -> int:
    """How often this thread has given up its processor of its own accord."""
    return 0 if _OF_THREAD is None else resource.getrusage(_OF_THREAD).ru_nvcsw
