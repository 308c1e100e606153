"""Waiting for a condition, with a deadline: the testing kit's, under the name that the tests know."""

from holdfast.testing.waiting import DEADLINE_SECONDS, POLL_SECONDS, wait_for

__all__ = ["DEADLINE_SECONDS", "POLL_SECONDS", "wait_for"]
