"""Waiting for a condition, with a deadline."""

import time

DEADLINE_SECONDS = 30.0
POLL_SECONDS = 0.01


def wait_for(condition, what="the condition", seconds=DEADLINE_SECONDS):
    """Return the first true value of `condition()`; fail the test when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds:.0f} s"
        time.sleep(POLL_SECONDS)
    return value
