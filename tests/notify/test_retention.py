"""How long the log is kept."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from factories import make_job
from holdfast.jobs import retention
from holdfast.jobs.ids import first_id, new_id
from holdfast.notify.backend import PRUNE_TASK
from holdfast.notify.models import Notification
from holdfast.testing import run_job


@pytest.fixture
def prune(holdfast, session):
    def prune():
        accepted = holdfast.tasks[PRUNE_TASK].enqueue(session)
        session.commit()
        return run_job(holdfast, accepted.job_id).result

    return prune


def test_what_has_ended_is_deleted_when_it_is_old_and_what_waits_is_kept(session, webhook, prune, written):
    now = session.execute(select(func.now())).scalar_one()
    for days, status in ((32, "delivered"), (31, "pending"), (29, "delivered")):
        made = now - timedelta(days=days)
        session.add(
            Notification(
                id=first_id(made),
                event="webhook.ping",
                channel="webhook",
                webhook_id=webhook.id,
                status=status,
                ended_at=None if status == "pending" else made,
            )
        )
    session.commit()
    assert prune() == 1
    assert [each.status for each in written()] == ["pending", "delivered"]


def test_log_of_a_job_goes_with_the_job(session, webhook, bring, written, holdfast_clock):
    make_job(session, "completed", owner_id=webhook.owner_id)
    bring(written()[0])
    holdfast_clock.advance(timedelta(days=31))
    piece = retention.delete_jobs(
        session,
        after=UUID(int=0),
        before=new_id(),
        age=timedelta(days=30),
        needed=retention.referring_rows(session),
    )
    session.commit()
    assert piece.deleted == 2
    assert written() == []
