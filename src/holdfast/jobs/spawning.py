"""What a task says to have others do parts of its work: spawn jobs, and gather their results."""

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload
from uuid import UUID

from sqlalchemy.orm import Session

from holdfast.errors import ChildFailed, InvalidArguments, PermanentError
from holdfast.jobs import children, store
from holdfast.jobs.children import ChildState
from holdfast.jobs.database import Database
from holdfast.jobs.groups import together
from holdfast.jobs.options import JobOptions
from holdfast.jobs.outcome import Suspension
from holdfast.jobs.running import RunningAttempt
from holdfast.jobs.steps.attempt_steps import Steps, check_no_loop, in_thread
from holdfast.jobs.steps.calls import Call, Key
from holdfast.jobs.steps.fingerprints import fingerprint_of
from holdfast.jobs.steps.results import result_type
from holdfast.jobs.steps.saved import Place
from holdfast.jobs.steps.transacting import Transact
from holdfast.jobs.task import Task
from holdfast.states import JobStatus

P = ParamSpec("P")
R = TypeVar("R")

OnFailure = Literal["fail_fast", "collect"]


@dataclass(frozen=True)
class Child(Generic[R]):
    """A job that another one has spawned; `gather` waits for it and gives its result."""

    id: UUID
    task: Task[..., R] = field(repr=False)


@dataclass(frozen=True)
class ChildResult(Generic[R]):
    """How a child ended: with a `result` if it has completed, with an `error` if it has failed."""

    id: UUID
    status: JobStatus
    result: R | None
    error: Mapping[str, Any] | None


class ChildMethods:
    """The part of `JobContext` that spawns children and waits for them."""

    _running: RunningAttempt
    _database: Database
    _steps: Steps
    # What each branch of the task that has come to `gather` waits for.
    _waits: dict[object, Suspension | None]

    def spawn(
        self, task: Task[P, R], /, key: Key | None = None, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Child[R]]:
        """Submit a child job: `child = await job.spawn(summarize, document_id=document_id)`.

        Spawned once, however many attempts this job has: it is a step like that of `transact`, named after
        the task, and `key` tells several of them apart as there. The child belongs to this job's owner. It
        is cancelled when this job is cancelled or fails.

        A retry of a dead job that keeps its steps keeps the children that have completed, and spawns the
        others anew.

        Args:
            task: what the child does.
            key: of the step; one that the task has as a parameter cannot be given.
            *args: none; the task's arguments are keywords.
            **kwargs: the task's arguments.

        Raises:
            InvalidArguments: the arguments do not fit the task.
            StepChanged: the saved child is one with other arguments.
            JobCancelled, StaleAttempt: as `check_cancelled`.
        """
        _check_named(task, args)
        return self._spawn(task, self._steps.places.take(f"spawn {task.name}", key), kwargs)

    def spawn_sync(
        self, task: Task[P, R], /, key: Key | None = None, *args: P.args, **kwargs: P.kwargs
    ) -> Child[R]:
        """`spawn` for `def` tasks."""
        check_no_loop("spawn")
        _check_named(task, args)
        place = self._place_now(self._steps.places.take(f"spawn {task.name}", key))
        return Child(self._spawning(task, place, kwargs).run_sync(), task)

    @overload
    async def gather(self, *waited: Child[R], on_failure: Literal["fail_fast"] = "fail_fast") -> list[R]: ...

    @overload
    async def gather(self, *waited: Child[R], on_failure: Literal["collect"]) -> list[ChildResult[R]]: ...

    async def gather(self, *waited: Child[Any], on_failure: OnFailure = "fail_fast") -> list[Any]:
        """Wait for children and give their results in order: `notes = await job.gather(*children)`.

        While one is unfinished the task is left: its slot is free, and no retry is used up. Once they have
        ended the task is run again from its start. What it did in steps is not repeated, so what must not
        be done twice belongs into steps. Steps that run at the same time are waited for first.

        Args:
            *waited: the children.
            on_failure: `fail_fast` raises as soon as one fails or is cancelled, and cancels the others.
                `collect` waits for all and gives a `ChildResult` for each.

        Raises:
            ChildFailed: a child did not complete (`fail_fast`).
            PermanentError: a child was deleted (code `child_missing`), or its result no longer fits.
        """
        self._steps.check()
        branch = object()
        try:
            with self._steps.at_work():
                states = await in_thread(self._look_at, waited, on_failure)
                self._waits[branch] = _wait(states, on_failure)
            if self._waits[branch] is not None:
                await self._steps.come_to_rest()
                states = await in_thread(self._look_at, waited, on_failure)
                self._waits[branch] = _wait(states, on_failure)
            if self._waits[branch] is not None:
                raise together(wait for wait in self._waits.values() if wait is not None)
        finally:
            self._waits.pop(branch, None)
        return _results(waited, states, on_failure)

    @overload
    def gather_sync(self, *waited: Child[R], on_failure: Literal["fail_fast"] = "fail_fast") -> list[R]: ...

    @overload
    def gather_sync(self, *waited: Child[R], on_failure: Literal["collect"]) -> list[ChildResult[R]]: ...

    def gather_sync(self, *waited: Child[Any], on_failure: OnFailure = "fail_fast") -> list[Any]:
        """`gather` for `def` tasks."""
        check_no_loop("gather")
        self._steps.check()
        self._steps.check_not_inside()
        states = self._look_at(waited, on_failure)
        if (wait := _wait(states, on_failure)) is not None:
            raise wait
        return _results(waited, states, on_failure)

    async def _spawn(self, task: Task[..., R], place: Place, arguments: Mapping[str, Any]) -> Child[R]:
        place = await in_thread(self._place_now, place)
        return Child(await self._spawning(task, place, arguments).run(), task)

    def _place_now(self, place: Place) -> Place:
        """Where a retry looks for its child: in its own place, unless the child before has completed."""
        claim = self._running.claim
        if self._steps.origin_id == claim.id:
            return place
        before = self._steps.find(place)
        if before is None:
            return place
        child_id = UUID(before.result.strip('"'))
        with self._database.session() as session:
            child = children.read(session, [child_id]).get(child_id)
        if child is not None and child.status is JobStatus.COMPLETED:
            return place
        return replace(place, key=f"{place.key} of {claim.id}")

    def _spawning(self, task: Task[..., Any], place: Place, arguments: Mapping[str, Any]) -> Transact:
        claim = self._running.claim
        job = replace(task.new_job(arguments, JobOptions(owner=claim.owner_id)), parent_id=claim.id)

        def submit(session: Session) -> UUID:
            self._steps.check()
            return task.submit(session, job).job_id

        call = Call(place, submit, (), {}, fingerprint_of(task.name, (), job.args), result_type(submit))
        return Transact(self._steps, self._database, call)

    def _look_at(self, waited: Sequence[Child[Any]], on_failure: OnFailure) -> list[ChildState]:
        """How the children stand; if one has failed and that is not to be waited for, the others end too."""
        with self._database.transaction() as session:
            found = children.read(session, [child.id for child in waited])
            missing = [child for child in waited if child.id not in found]
            if missing:
                raise PermanentError(f"The child job {missing[0].id} was deleted.", code="child_missing")
            states = [found[child.id] for child in waited]
            if on_failure == "fail_fast" and (failed := _failed(states)):
                self._cancel_unfinished(session, states)
            else:
                failed = None
        if failed is not None:
            raise ChildFailed(failed.id, failed.task, failed.status, failed.error)
        return states

    def _cancel_unfinished(self, session: Session, states: Sequence[ChildState]) -> None:
        if unfinished := _unfinished(states):
            children.cancel(session, unfinished)
            if not store.hold(session, *self._running.key):
                raise self._steps.stale()


def _wait(states: Sequence[ChildState], on_failure: OnFailure) -> Suspension | None:
    """The wait for those that are unfinished, if any."""
    unfinished = _unfinished(states)
    return Suspension(unfinished, wakes_on_failure=on_failure == "fail_fast") if unfinished else None


def _results(waited: Sequence[Child[Any]], states: Sequence[ChildState], on_failure: OnFailure) -> list[Any]:
    ended = [_ended(child, state) for child, state in zip(waited, states, strict=True)]
    return ended if on_failure == "collect" else [child.result for child in ended]


def _unfinished(states: Sequence[ChildState]) -> list[UUID]:
    return [state.id for state in states if not state.status.is_terminal]


def _check_named(task: Task[..., Any], args: Sequence[object]) -> None:
    if args:
        raise InvalidArguments(f"The arguments of {task.name} are given by name.")


def _failed(states: Sequence[ChildState]) -> ChildState | None:
    dead = (state for state in states if state.status.is_terminal)
    return next((state for state in dead if state.status is not JobStatus.COMPLETED), None)


def _ended(child: Child[R], state: ChildState) -> ChildResult[R]:
    is_done = state.status is JobStatus.COMPLETED
    result = child.task.load_result(state.result) if is_done else None
    return ChildResult(child.id, state.status, result, state.error)
