"""What decides about a job when several exceptions were raised at once."""

import asyncio
from uuid import UUID

import pytest

from holdfast.errors import PermanentError, Retry, StaleAttempt
from holdfast.jobs.groups import deciding
from holdfast.jobs.outcome import Suspension

FIRST, SECOND = UUID(int=1), UUID(int=2)


def waits(*ids, on_failure=False):
    return Suspension(list(ids), wakes_on_failure=on_failure)


def group(*exceptions):
    return BaseExceptionGroup("several", exceptions)


@pytest.mark.parametrize(
    ("exceptions", "expected"),
    [
        ([ValueError(), StaleAttempt(), PermanentError()], StaleAttempt),
        ([ValueError(), group(waits(FIRST), PermanentError())], PermanentError),
        ([Retry(), waits(FIRST)], Retry),
        ([ValueError(), TypeError()], ExceptionGroup),
        ([asyncio.CancelledError()], BaseExceptionGroup),
        ([waits(FIRST), asyncio.CancelledError()], Suspension),
    ],
)
def test_strongest_exception_of_a_group_decides(exceptions, expected):
    assert type(deciding(group(*exceptions))) is expected


def test_branches_that_wait_for_different_children_wait_together():
    decided = deciding(group(waits(FIRST), group(waits(SECOND, FIRST, on_failure=True))))
    assert (decided.awaited_ids, decided.wakes_on_failure) == ([FIRST, SECOND], True)


def test_lone_exception_decides_itself():
    error = ValueError()
    assert deciding(error) is error
