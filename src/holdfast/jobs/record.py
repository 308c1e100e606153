"""From a decision to the one write it stands for."""

from typing import Any, assert_never

from sqlalchemy.orm import Session

from holdfast.jobs import store
from holdfast.jobs.outcome import Abandon, Complete, Decision, Fail, HandBack, RetryLater, Stop, Suspend


def record(session: Session, claim: store.Claim, decision: Decision, progress: dict[str, Any] | None) -> bool:
    """Write what was decided of an attempt, with its last progress; `False`: it is stale, nothing was."""
    match decision:
        case Complete(result):
            return store.complete(session, claim, result, progress)
        case Fail(error, trace):
            return store.fail(session, claim, error, progress, traceback=trace)
        case RetryLater(error, trace, delay):
            return store.retry_later(session, claim, error, delay, traceback=trace)
        case Stop():
            return store.stop(session, claim, progress)
        case HandBack():
            return store.hand_back(session, claim.id, claim.attempt, progress)
        case Suspend(awaited_ids, wakes_on_failure):
            return store.suspend(session, claim, awaited_ids, progress, wakes_on_failure=wakes_on_failure)
        case Abandon():
            return False
    assert_never(decision)
