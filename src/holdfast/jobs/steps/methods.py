# ruff: noqa: ANN401 - the arguments and results are those of the users' functions
"""What a task says to have its work kept: steps, and effects that happen exactly once."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, overload
from uuid import uuid5

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from holdfast.jobs import store
from holdfast.jobs.database import Database
from holdfast.jobs.running import RunningAttempt
from holdfast.jobs.steps.attempt_steps import Steps, check_no_loop
from holdfast.jobs.steps.calls import Call, Key
from holdfast.jobs.steps.fenced import FencedTransaction
from holdfast.jobs.steps.transacting import Transact

P = ParamSpec("P")
R = TypeVar("R")


class StepMethods:
    """The part of `JobContext` that keeps work."""

    _running: RunningAttempt
    _database: Database
    _steps: Steps

    # With a key the arguments are not checked: nothing may stand between those of a ParamSpec.
    @overload
    def step(
        self, name: str, fn: Callable[..., Awaitable[R]], /, *args: Any, key: Key | None, **kwargs: Any
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def step(
        self, name: str, fn: Callable[..., R], /, *args: Any, key: Key | None, **kwargs: Any
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def step(
        self, name: str, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def step(
        self, name: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...

    def step(
        self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """Call a function and save what it returns; a later attempt is given that and does not call it.

        In an `async def` task: `text = await job.step("read", read_text, document_id)`. A plain function runs
        in a thread, one with `async def` on the event loop.

        The result is what the function's return annotation says, as Pydantic stores it, and it is given to
        the task as it was stored, the first time too. A step that failed is not saved. One that waited for
        anything, or took 10 ms or more, is durable before it is given back; one that has merely computed is
        written within 50 ms, with others.

        Args:
            name: of the step, 200 characters at most.
            fn: the function, whose module and name must stay the same while jobs are under way.
            *args: its arguments. What is not JSON, such as a client, counts by its type alone.
            key: tells steps of one name apart. Without it they are numbered in the order of the calls, which
                must then come from one task or thread.
            **kwargs: its arguments by name; one called `key` cannot be given.

        Raises:
            StepChanged: the saved step is one of another function, or of other arguments, or its value no
                longer fits the annotation.
            PermanentError: the result cannot be saved (code `invalid_result`), or the step cannot be told
                from another one (`step_misuse`).
            JobCancelled, StaleAttempt: as `check_cancelled`.
        """
        return self._steps.run(self._call(name, fn, args, kwargs))

    @overload
    def step_sync(
        self, name: str, fn: Callable[..., R], /, *args: Any, key: Key | None, **kwargs: Any
    ) -> R: ...

    @overload
    def step_sync(self, name: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def step_sync(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """`step` for `def` tasks: `text = job.step_sync("read", read_text, document_id)`."""
        check_no_loop("step")
        return self._steps.run_sync(self._call(name, fn, args, kwargs))

    @overload
    def transact(
        self,
        name: str,
        fn: Callable[Concatenate[AsyncSession, ...], Awaitable[R]],
        /,
        *args: Any,
        key: Key | None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def transact(
        self,
        name: str,
        fn: Callable[Concatenate[Session, ...], R],
        /,
        *args: Any,
        key: Key | None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def transact(
        self,
        name: str,
        fn: Callable[Concatenate[AsyncSession, P], Awaitable[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def transact(
        self, name: str, fn: Callable[Concatenate[Session, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...

    def transact(
        self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """Write into the database exactly once: `await job.transact("charge", charge, account, amount)`.

        A step whose function is given a session first, an `AsyncSession` if it is `async def`, a `Session` if
        not. What it writes there is committed in one transaction with the step's record, by the attempt that
        holds the job, or not at all; a later attempt is given the saved result and does not call it.

        The function writes, and leaves committing to Holdfast. When the connection is lost it is called
        again, unless the record shows that the lost transaction was committed; so it does nothing else.

        Args and errors are those of `step`.

        Raises:
            DatabaseUnavailable: PostgreSQL was away for half a minute.
            StaleAttempt: the job has moved on; nothing was written.
        """
        return Transact(self._steps, self._database, self._call(name, fn, args, kwargs)).run()

    @overload
    def transact_sync(
        self,
        name: str,
        fn: Callable[Concatenate[Session, ...], R],
        /,
        *args: Any,
        key: Key | None,
        **kwargs: Any,
    ) -> R: ...

    @overload
    def transact_sync(
        self, name: str, fn: Callable[Concatenate[Session, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    def transact_sync(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """`transact` for `def` tasks."""
        check_no_loop("transact")
        return Transact(self._steps, self._database, self._call(name, fn, args, kwargs)).run_sync()

    def transaction(self) -> FencedTransaction:
        """A database session whose writes are made by the attempt that holds the job, or not at all.

        `with job.transaction() as session` gives a `Session`, `async with` an `AsyncSession`. It commits at
        the end of the block. Python cannot skip a block: a later attempt runs it again. For writes that
        happen exactly once there is `transact`.

        Do no slow work inside: while the last check holds, a rescue or a cancel of this job waits.

        Raises:
            StaleAttempt: the job has moved on; nothing was written.
        """
        return FencedTransaction(self._steps, self._database, self._hold)

    def idempotency_key(self, name: str) -> str:
        """A key for an effect outside the database, for a provider that does the same request only once.

        The same in every attempt of the job, and in a retry that keeps its steps; another for each name.
        """
        return str(uuid5(self._steps.origin_id, name))

    def _hold(self, session: Session) -> bool:
        return store.hold(session, *self._running.key)

    def _call(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        place = self._steps.places.take(name, kwargs.pop("key", None))
        return Call.of(place, fn, args, kwargs)
