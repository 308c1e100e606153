"""The usual recipe on plain Celery: late acknowledgement, a row updated by its id, retries by Celery."""

import os

from celery import Celery

from benchmarks.chaos.contest_work import by_hand, submit_all

app = Celery("plain", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task(name="contest.job", autoretry_for=(Exception,), max_retries=200, default_retry_delay=0.5)
def job(job_id: str) -> None:
    by_hand(job_id)


if __name__ == "__main__":
    submit_all(job.delay)
