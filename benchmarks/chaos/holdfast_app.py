"""The same job on Holdfast, with default settings."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.chaos.contest_work import begin, buy, submit_all, work
from holdfast import Holdfast, JobContext

holdfast = Holdfast()


# As often as the others may: a job of the contest is killed more often than one should bear.
@holdfast.task(retries=200, retry_delay=0.5, max_crashes=200)
def job(job: JobContext, row: str) -> None:
    begin(row)
    job.step_sync("buy", buy, row)
    work(row)
    job.transact_sync("effect", leave_effect, row)


def leave_effect(session: Session, row: str) -> None:
    session.execute(text("INSERT INTO contest.effects (job_id) VALUES (:row)"), {"row": row})
    session.execute(text("UPDATE contest.rows SET status = 'completed' WHERE job_id = :row"), {"row": row})


def send(row: str) -> None:
    with holdfast.database.transaction() as session:
        job.enqueue(session, row=row)


if __name__ == "__main__":
    submit_all(send)
