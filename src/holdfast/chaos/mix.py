"""What chaos's own workload is made of. Apart from it: importing the tasks makes a `Holdfast`."""

from holdfast.states import JobStatus

WORKLOAD = "holdfast.chaos.workload:holdfast"
"""The workload's Holdfast, as module:attribute."""

WITH_DOCUMENTS = "holdfast.chaos.serving:holdfast"
"""The same with the document backend, for runs in which documents are uploaded."""

MIX = {"quick": 30, "paid": 20, "paid_async": 20, "long": 15, "flaky": 10, "doomed": 5}
"""Its tasks, and how often each is drawn."""


def expected_status(task: str) -> JobStatus:
    """How a job of this task ends, whatever happens on the way."""
    return JobStatus.FAILED if task == "doomed" else JobStatus.COMPLETED
