"""Owners and jobs for tests, made through the store's own transitions and committed."""

from datetime import timedelta

from sqlalchemy import update

from holdfast.jobs import store
from holdfast.jobs.delivery import sending
from holdfast.jobs.ids import new_id
from holdfast.jobs.keys import Owner, create_key
from holdfast.jobs.models import Job
from holdfast.jobs.queries import get_job, list_attempts
from holdfast.states import JobStatus

WORKER = "worker-1"
PROCESS = 4242
LEASE = timedelta(minutes=1)
RAN_OUT = timedelta(seconds=-1)
ERROR = {"code": "task_error", "message": "ValueError: no", "stage": None, "attempt": 1}


def make_owner(session, name="tester"):
    """Make an API key; returns its owner and the secret token."""
    key, token = create_key(session, name)
    session.commit()
    return Owner(key.id, key.name, tuple(key.scopes)), token


def new_job(**changes):
    """What an enqueue writes, with something in every field that must be given."""
    fields = {
        "id": new_id(),
        "task": "work",
        "args": {},
        "queue": "default",
        "priority": 5,
        "max_attempts": 4,
        "max_crashes": 3,
    }
    return store.NewJob(**fields | changes)


def queue_job(session, *, sent=True, **changes):
    """Queue a job; returns its id. One that is not `sent` is what the relay looks for."""
    job = new_job(**changes)
    store.enqueue(session, job)
    if not sent:
        sending.mark_unsent(session, [job.id])
    session.commit()
    return job.id


def start_job(session, *, worker=WORKER, process=PROCESS, lease=LEASE, **changes):
    """Queue a job and claim it; returns the claim. The lease `RAN_OUT` is that of a lost worker."""
    job_id = queue_job(session, **changes)
    return claim_job(session, job_id, worker=worker, process=process, lease=lease)


def claim_job(session, job_id, *, worker=WORKER, process=PROCESS, lease=LEASE):
    """Start the next attempt of a queued job."""
    claim = store.claim(session, job_id, worker=worker, process=process, lease=lease)
    session.commit()
    assert claim is not None
    return claim


def make_job(session, status, **changes):
    """Make a job that stands at `status`; returns the claim of its last attempt, or of a first to come."""
    if status == JobStatus.QUEUED:
        job_id = queue_job(session, **changes)
        return store.Claim(job_id, 1, "work", {}, 0, 4, None)
    claim = start_job(session, **changes)
    match JobStatus(status):
        case JobStatus.COMPLETED:
            store.complete(session, claim, {"answer": 42}, None)
        case JobStatus.FAILED:
            store.fail(session, claim, ERROR, None)
        case JobStatus.CANCELLED:
            store.cancel(session, claim.id)
            store.stop(session, claim, None)
    session.commit()
    return claim


def lose_worker(session, job_id):
    """Let the job's lease run out, as if its worker had gone silent; nobody has taken the job back yet."""
    session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=Job.started_at))
    session.commit()


def job_row(session, job_id):
    """Every column of the job as it is committed now."""
    session.rollback()
    job = get_job(session, job_id)
    return {column.key: getattr(job, column.key) for column in Job.__mapper__.column_attrs}


def attempt_outcomes(session, job_id):
    """How the job's attempts ended, first to last."""
    session.rollback()
    return [attempt.outcome for attempt in list_attempts(session, job_id)]
