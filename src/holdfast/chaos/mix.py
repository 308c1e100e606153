"""What chaos's own workload is made of. Apart from it: importing the tasks makes a `Holdfast`."""

from datetime import timedelta

from holdfast.states import JobStatus

WORKLOAD = "holdfast.chaos.workload:holdfast"
"""The workload's Holdfast, as module:attribute."""

WITH_DOCUMENTS = "holdfast.chaos.serving:holdfast"
"""The same with the document backend, for runs in which documents are uploaded."""

MIX = {
    "quick": 18,
    "batched": 4,
    "paid": 17,
    "paid_async": 20,
    "long": 15,
    "flaky": 10,
    "doomed": 5,
    "family": 5,
    "family_sync": 5,
    "deserting": 2,
}
"""The tasks that are submitted, and how often each is drawn."""

BATCHES = {"batched": 5}
"""How many jobs are submitted together when a task is drawn, where it is more than one."""

FAMILIES = {"family": 3, "family_sync": 3, "deserting": 3}
"""How many children a job of each of these tasks spawns."""

UNSUBMITTED = {"part", "forsaken", "tick"}
"""The tasks of jobs that nobody submits: other jobs spawn them, or the clock makes them."""

TICKS = {"tick": timedelta(minutes=1)}
"""The tasks that are run by the clock, and how often."""

_ENDS = {"doomed": JobStatus.FAILED, "deserting": JobStatus.FAILED, "forsaken": JobStatus.CANCELLED}


def expected_status(task: str) -> JobStatus:
    """How a job of this task ends, whatever happens on the way."""
    return _ENDS.get(task, JobStatus.COMPLETED)
