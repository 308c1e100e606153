"""Which jobs a worker with free places takes out of PostgreSQL first."""

import pytest

from factories import LEASE, PROCESS, RAN_OUT, WORKER, queue_job, start_job
from holdfast import JobContext
from holdfast.jobs import leases
from holdfast.jobs.grouped import Holder
from holdfast.jobs.pulling import Places, Puller


def work(job: JobContext) -> None: ...


@pytest.fixture
def take(holdfast):
    """Claim jobs of the default queue for so many places; returns their ids in the order of the claims."""
    holdfast.task(work)
    url = holdfast.urls.database_url
    puller = Puller(lambda: url, holdfast.tasks, lambda: Holder(WORKER, PROCESS, LEASE))
    yield lambda places: [claim.id for claim in puller.take(["default"], Places(places, places))]
    puller._database.close()


def test_rescued_job_comes_first_among_those_of_its_priority_and_after_more_urgent_ones(session, take):
    rescued = start_job(session, priority=5, lease=RAN_OUT).id
    waiting = queue_job(session, priority=5, sent=False)
    urgent = queue_job(session, priority=1, sent=False)
    leases.rescue_expired(session, limit=10)
    session.commit()

    assert take(1) == [urgent]
    assert take(1) == [rescued]
    assert take(1) == [waiting]
