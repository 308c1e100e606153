"""What a group of exceptions says about a job: code that does several things at once may raise several."""

from collections.abc import Iterable, Iterator

from holdfast.errors import PermanentError, StaleAttempt
from holdfast.jobs.outcome import Suspension


def deciding(exception: BaseException) -> BaseException:
    """The exception that decides about the job: one of a group's, or the group.

    Having lost the job comes before all, then what cannot be mended. Waiting for children comes last, and
    branches that wait for different ones wait together.
    """
    if not isinstance(exception, BaseExceptionGroup):
        return exception
    leaves = list(_leaves(exception))
    for kind in (StaleAttempt, PermanentError):
        if found := next((leaf for leaf in leaves if isinstance(leaf, kind)), None):
            return found
    errors = [leaf for leaf in leaves if isinstance(leaf, Exception)]
    if errors:
        return errors[0] if len(errors) == 1 else exception
    waiting = [leaf for leaf in leaves if isinstance(leaf, Suspension)]
    return together(waiting) if waiting else exception


def together(suspensions: Iterable[Suspension]) -> Suspension:
    """One wait for all that these wait for."""
    suspensions = list(suspensions)
    awaited = dict.fromkeys(job_id for suspension in suspensions for job_id in suspension.awaited_ids)
    return Suspension(list(awaited), wakes_on_failure=any(each.wakes_on_failure for each in suspensions))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for exception in group.exceptions:
        if isinstance(exception, BaseExceptionGroup):
            yield from _leaves(exception)
        else:
            yield exception
