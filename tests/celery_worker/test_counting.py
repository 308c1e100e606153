"""A worker counts the jobs that have ended."""

from holdfast.jobs import counting
from waiting import wait_for


def test_a_worker_counts_what_has_ended(start_worker, holdfast, session):
    start_worker(pool="asyncio")
    holdfast.tasks["add"].enqueue(session, a=1, b=2)
    session.commit()

    def counted():
        session.rollback()
        return [
            (each.task, each.completed) for each in counting.by_task(session, counting.SPANS["1h"], most=5)
        ]

    wait_for(lambda: counted() == [("add", 1)], "the job's count")
