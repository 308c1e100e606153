"""An application with a task that keeps its promises and one that does not, for runs of `holdfast chaos`."""

import time

from sqlalchemy import text

from holdfast import Holdfast, JobContext

holdfast = Holdfast()


@holdfast.task(retries=100, retry_delay=0.5, max_crashes=100)
def summarize(job: JobContext, words: int) -> int:
    time.sleep(0.2)
    return words


@holdfast.task(retries=100, retry_delay=0.5, max_crashes=100)
def tamper(job: JobContext, words: int) -> int:
    """Write a job's row past the engine, as a stale worker without a fence would."""
    with holdfast.database.transaction() as session:
        session.execute(
            text('UPDATE holdfast.jobs SET progress = \'{"message": "chaos, attempt 9"}\' WHERE id = :id'),
            {"id": job.id},
        )
    return words
