"""After the end of an attempt: whoever waited for it may go on."""

import logging

from sqlalchemy.exc import SQLAlchemyError

from holdfast.jobs import children
from holdfast.jobs.database import Database
from holdfast.jobs.delivery.outbox import Outbox
from holdfast.jobs.outcome import Abandon, Decision, Suspend
from holdfast.jobs.patience import reason
from holdfast.jobs.store import Claim

log = logging.getLogger(__name__)


def wake_after(database: Database, outbox: Outbox, claim: Claim, decision: Decision) -> None:
    """Wake the job's parent, or the job itself if it has just begun to wait, and send it at once.

    In a transaction after that of the end, which sees what ended at the same moment. What fails here is done
    by the relay.
    """
    waiting = claim.id if isinstance(decision, Suspend) else claim.parent_id
    if waiting is None or isinstance(decision, Abandon):
        return
    try:
        with database.transaction() as session:
            if (delivery := children.wake(session, waiting)) is not None:
                outbox.send_after_commit(session, delivery)
    except SQLAlchemyError as error:
        log.warning("Could not look whether job %s can go on; the relay will: %s", waiting, reason(error))
