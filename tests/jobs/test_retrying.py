"""The steps of a dead job: a retry goes on with them, or runs them again."""

import pytest

from factories import LEASE, job_row
from holdfast import JobContext, PermanentError
from holdfast.jobs.queries import get_job
from holdfast.jobs.retrying import RetryRequest, retry
from holdfast.jobs.runner import Runner, Worker
from holdfast.states import Steps

WORKER = Worker("worker-1", LEASE)


@pytest.fixture
def paid():
    """What the steps have paid for."""
    return []


@pytest.fixture
def task(holdfast, paid):
    def pay(what: str) -> str:
        paid.append(what)
        return what

    @holdfast.task
    def buy(job: JobContext) -> list[str]:
        bought = [job.step_sync("pay", pay, "first")]
        if len(paid) == 1:
            raise PermanentError("Sold out.")
        return [*bought, job.step_sync("pay", pay, "second")]

    return buy


@pytest.fixture
def dead(holdfast, session, task):
    """A job that has failed after its first step."""
    job_id = task.enqueue(session).job_id
    session.commit()
    Runner(holdfast.database, lambda news: None).run(task, job_id, WORKER)
    session.rollback()
    return get_job(session, job_id)


@pytest.mark.parametrize(
    ("steps", "now_paid"),
    [(Steps.KEEP, ["first", "second"]), (Steps.DROP, ["first", "first", "second"])],
)
def test_saved_steps_are_kept_or_run_again(holdfast, session, task, dead, paid, steps, now_paid):
    assert (dead.status, paid) == ("failed", ["first"])
    new = retry(session, task, dead, RetryRequest(dead.id, steps)).job_id
    session.commit()
    paid.append("a delivery")  # so that it is not sold out any more
    Runner(holdfast.database, lambda news: None).run(task, new, WORKER)

    row = job_row(session, new)
    assert (row["status"], row["result"]) == ("completed", ["first", "second"])
    paid.remove("a delivery")
    assert paid == now_paid
