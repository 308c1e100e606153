"""A task that real workers run by the clock."""

from holdfast import Holdfast, JobContext

holdfast = Holdfast()
app = holdfast.celery


@holdfast.task(cron="0 * * * *", missed="all")
def report(job: JobContext) -> str:
    return job.tick.isoformat()
