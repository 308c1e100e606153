"""What is shown of a job, and to whom."""

from datetime import UTC, datetime
from math import ceil
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import Row

from holdfast.api.problems import Refused
from holdfast.jobs import keys
from holdfast.jobs.models import Batch, Job
from holdfast.live import ProgressReader
from holdfast.notify.models import Notification, Webhook
from holdfast.schemas import JobView
from holdfast.states import JobStatus

_LONGEST_WAIT_SECONDS: Final = 60

Owned = TypeVar("Owned", Job, Batch, Webhook, Notification, Row[Any])


def checked_job(job: Owned | None, owner: keys.Owner) -> Owned:
    """The job, if there is one and it is the owner's; raises `Refused`."""
    if job is None:
        raise Refused("job_not_found", "No job has this id.")
    return checked(job, owner, "The job belongs to another API key.")


def checked(thing: Owned, owner: keys.Owner, detail: str) -> Owned:
    """What belongs to this owner; raises `Refused` with this detail if it is another's."""
    if thing.owner_id != owner.id:
        raise Refused("forbidden", detail)
    return thing


def view_of(job: Row[Any], progress: dict[str, Any] | None) -> JobView:
    """The job as it is shown, with this progress."""
    return JobView.model_validate(fields_of(job, progress))


async def newest_progress(job: Row[Any], live: ProgressReader) -> dict[str, Any] | None:
    """How far the job is; fresher than its row while it runs."""
    shown = await live.read(job.id) if job.status == JobStatus.PROCESSING else None
    saved: dict[str, Any] | None = job.progress
    return shown or saved


def fields_of(job: Row[Any], progress: dict[str, Any] | None) -> dict[str, Any]:
    """What a `JobView` of the job is made from."""
    url = job_url(job.id)
    return {
        **dict(zip(job._fields, job, strict=True)),
        "progress": progress,
        "retries": job.retries or (),
        "urls": {
            "job": url,
            "attempts": f"{url}/attempts",
            "events": f"{url}/events",
            "cancel": f"{url}/cancel",
            "retry": f"{url}/retry",
        },
    }


def job_url(job_id: UUID) -> str:
    """Where the job is shown, relative to the API's root."""
    return f"/v1/jobs/{job_id}"


def waiting_headers(job: Row[Any]) -> dict[str, str]:
    """When it is worth asking again, while the job has not ended."""
    if JobStatus(job.status).is_terminal:
        return {}
    # A hint, so this machine's clock will do.
    wait_seconds = ceil((job.run_at - datetime.now(UTC)).total_seconds())
    return {"Retry-After": str(min(max(1, wait_seconds), _LONGEST_WAIT_SECONDS))}
