"""The smallest application there is: one task that does nothing, and an endpoint that enqueues it."""

from holdfast import Holdfast, JobAccepted, JobContext
from holdfast.api import Owner, Session, create_app

holdfast = Holdfast()


def nothing(job: JobContext) -> None:
    """Do nothing."""


task = holdfast.task(nothing)
celery = holdfast.celery
app = create_app(holdfast)


@app.post("/v1/nothing", status_code=202)
async def enqueue_nothing(owner: Owner, session: Session) -> JobAccepted:
    return await task.enqueue(session, owner=owner)
