"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 30.0
POLL_SECONDS = 0.01


def wait_for(condition: Callable[[], T], what: str = "the condition", seconds: float = DEADLINE_SECONDS) -> T:
    """Return the first true value of `condition()`.

    Raises:
        AssertionError: there was none within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)
    return value
