"""The same job on relier: its decorator with idempotency, its worker, its resurrector, its defaults."""

from relier import rl_task

from benchmarks.chaos.contest_work import by_hand, submit_all


@rl_task(idempotent=True, name="contest.job")
def job(job_id: str) -> None:
    by_hand(job_id)


if __name__ == "__main__":
    import relier.tasks.app  # noqa: F401 - the Celery application that is pushed to

    submit_all(job.push)
