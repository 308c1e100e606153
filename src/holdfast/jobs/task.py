"""A registered function: its name, its arguments and result as its annotations say, and its policy."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Generic, ParamSpec, TypeVar, overload
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from holdfast.errors import ConfigurationError, InvalidArguments
from holdfast.jobs import batches, idempotency, store
from holdfast.jobs.accepted import BatchAccepted, JobAccepted
from holdfast.jobs.batches import NewBatch, NewItem
from holdfast.jobs.channels import Channels
from holdfast.jobs.cron import Cron
from holdfast.jobs.delivery.outbox import Outbox
from holdfast.jobs.delivery.sending import Delivery
from holdfast.jobs.ids import new_id
from holdfast.jobs.keys import Owner
from holdfast.jobs.options import LIMITS, PRIORITIES, JobOptions, check_metadata, duration
from holdfast.jobs.signature import Signature
from holdfast.retry import RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")

# The parameters of `enqueue` itself; a task's own must not be called the same.
RESERVED = frozenset(
    {"session", "owner", "delay", "run_at", "priority", "metadata", "idempotency_key", "notify", *LIMITS}
)


@dataclass(frozen=True)
class TaskOptions:
    """What a task's jobs are given unless an enqueue says otherwise; `ConfigurationError` if it cannot be."""

    queue: str = "default"
    priority: int = 5
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_crashes: int = 3
    exposed: bool = False
    cpu_bound: bool = False
    cron: Cron | None = None
    timeout: timedelta | None = None
    deadline: timedelta | None = None
    start_by: timedelta | None = None

    def __post_init__(self) -> None:
        if self.priority not in PRIORITIES:
            raise ConfigurationError(f"priority is 0 (first) to 9 (last), not {self.priority}.")
        if self.max_crashes < 1:
            raise ConfigurationError(f"max_crashes is 1 or more, not {self.max_crashes}.")
        for name in LIMITS:
            limit = getattr(self, name)
            if limit is not None and limit <= timedelta():
                raise ConfigurationError(f"{name} is more than 0, not {limit}.")


class Task(Generic[P, R]):
    """A function that jobs can be made for. Made by `Holdfast.task`; calling it calls the function itself."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        options: TaskOptions,
        outbox: Outbox,
        channels: Channels,
    ) -> None:
        self.name = name
        self.function = function
        self.options = options
        self.is_async = inspect.iscoroutinefunction(function)
        self.__doc__ = function.__doc__
        self.outbox = outbox
        self._channels = channels
        self._signature = Signature(name, function, RESERVED)
        if options.cron is not None:
            self._check_defaults()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the function takes
        """Call the function itself, as a plain function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @overload
    def enqueue(
        self,
        session: Session,
        owner: Owner | UUID | None = None,
        delay: timedelta | float | None = None,
        run_at: datetime | None = None,
        priority: int | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        idempotency_key: str | None = None,
        timeout: timedelta | float | None = None,
        deadline: timedelta | float | None = None,
        start_by: timedelta | float | None = None,
        notify: Mapping[str, JsonValue] | None = None,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> JobAccepted: ...

    @overload
    def enqueue(
        self,
        session: AsyncSession,
        owner: Owner | UUID | None = None,
        delay: timedelta | float | None = None,
        run_at: datetime | None = None,
        priority: int | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        idempotency_key: str | None = None,
        timeout: timedelta | float | None = None,
        deadline: timedelta | float | None = None,
        start_by: timedelta | float | None = None,
        notify: Mapping[str, JsonValue] | None = None,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Awaitable[JobAccepted]: ...

    def enqueue(
        self,
        session: Session | AsyncSession,
        owner: Owner | UUID | None = None,
        delay: timedelta | float | None = None,
        run_at: datetime | None = None,
        priority: int | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        idempotency_key: str | None = None,
        timeout: timedelta | float | None = None,
        deadline: timedelta | float | None = None,
        start_by: timedelta | float | None = None,
        notify: Mapping[str, JsonValue] | None = None,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> JobAccepted | Awaitable[JobAccepted]:
        """Write a job in the caller's transaction, and hand it to a worker once that commits.

        With an `AsyncSession` the call is awaited. The task's own arguments are given by name. If the
        transaction is rolled back there is no job; if the broker is away the job runs when it is back.

        Args:
            session: the caller's session; committing it is the caller's business.
            owner: the API key the job belongs to, or its id.
            delay: start no earlier than so long after the commit's transaction began (seconds or timedelta).
            run_at: start no earlier than this time (aware).
            priority: 0 (first) to 9 (last); the task's own if not given.
            metadata: JSON of the caller's, kept with the job and shown with it.
            idempotency_key: stands for this request for 24 hours: the same owner asking again for the same
                task and arguments is given the same job, even if it has failed.
            timeout: how long an attempt may take (seconds or timedelta); the task's own if not given.
            deadline: how long from now the job may take in all; likewise.
            start_by: how long from now it may wait for its first attempt; likewise.
            notify: whom to tell of its end, by channel: `{"webhook": {"url": ...}, "email": ...}`.
            *args: none; the task's arguments are keywords.
            **kwargs: the task's arguments.

        Raises:
            InvalidArguments: the arguments do not fit the task's annotations, or those of enqueue itself
                cannot be: a time without a zone, both `delay` and `run_at`, metadata that is not JSON, a
                channel that there is not.
            IdempotencyConflict: the key stands for other arguments.
        """
        if args:
            raise InvalidArguments(f"The arguments of {self.name} are given by name.")
        options = JobOptions(
            owner=owner,
            delay=delay,
            run_at=run_at,
            priority=priority,
            metadata=metadata,
            idempotency_key=idempotency_key,
            timeout=timeout,
            deadline=deadline,
            start_by=start_by,
            notify=notify,
        )
        job = self.new_job(kwargs, options)
        if isinstance(session, AsyncSession):
            return session.run_sync(self.submit, job)
        return self.submit(session, job)

    @overload
    def enqueue_many(
        self,
        session: Session,
        arguments: Sequence[Mapping[str, Any]],
        *,
        owner: Owner | UUID | None = None,
        delay: timedelta | float | None = None,
        run_at: datetime | None = None,
        priority: int | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        idempotency_key: str | None = None,
        timeout: timedelta | float | None = None,
        deadline: timedelta | float | None = None,
        start_by: timedelta | float | None = None,
        notify: Mapping[str, JsonValue] | None = None,
    ) -> BatchAccepted: ...

    @overload
    def enqueue_many(
        self,
        session: AsyncSession,
        arguments: Sequence[Mapping[str, Any]],
        *,
        owner: Owner | UUID | None = None,
        delay: timedelta | float | None = None,
        run_at: datetime | None = None,
        priority: int | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        idempotency_key: str | None = None,
        timeout: timedelta | float | None = None,
        deadline: timedelta | float | None = None,
        start_by: timedelta | float | None = None,
        notify: Mapping[str, JsonValue] | None = None,
    ) -> Awaitable[BatchAccepted]: ...

    def enqueue_many(
        self,
        session: Session | AsyncSession,
        arguments: Sequence[Mapping[str, Any]],
        *,
        owner: Owner | UUID | None = None,
        delay: timedelta | float | None = None,
        run_at: datetime | None = None,
        priority: int | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        idempotency_key: str | None = None,
        timeout: timedelta | float | None = None,
        deadline: timedelta | float | None = None,
        start_by: timedelta | float | None = None,
        notify: Mapping[str, JsonValue] | None = None,
    ) -> BatchAccepted | Awaitable[BatchAccepted]:
        """Write a job for each of these arguments, 10,000 at most, in the caller's transaction: all or none.

        The jobs are a batch, which can be counted and cancelled as one. Their order is that of their ids.

        Args:
            session: the caller's session; with an `AsyncSession` the call is awaited.
            arguments: the task's arguments of each job.
            owner: the API key the jobs belong to, or its id.
            delay: as for `enqueue`, for each of the jobs.
            run_at: likewise.
            priority: likewise.
            metadata: JSON of the caller's, kept with the batch and shown with it.
            idempotency_key: as for `enqueue`, for the batch as a whole.
            timeout: as for `enqueue`, for each of the jobs.
            deadline: likewise.
            start_by: likewise.
            notify: as for `enqueue`, told once: when the last of the jobs has ended.

        Raises:
            InvalidArguments: some arguments do not fit, and which; or there are none, or too many; or those
                of enqueue itself cannot be.
            IdempotencyConflict: the key stands for another request.
        """
        options = JobOptions(
            owner=owner,
            delay=delay,
            run_at=run_at,
            priority=priority,
            idempotency_key=idempotency_key,
            timeout=timeout,
            deadline=deadline,
            start_by=start_by,
        )
        items = [NewItem(given) for given in arguments]
        batch = self.new_batch(items, options, metadata=metadata, notify=notify)
        if isinstance(session, AsyncSession):
            return session.run_sync(self.submit_batch, batch)
        return self.submit_batch(session, batch)

    def new_batch(
        self,
        items: Sequence[NewItem],
        options: JobOptions,
        *,
        metadata: Mapping[str, JsonValue] | None = None,
        notify: Mapping[str, JsonValue] | None = None,
    ) -> NewBatch:
        """A batch as it would be written, checked in all there is to check without the database.

        Raises:
            InvalidArguments: an item does not fit, and which; or there are none, or too many.
        """
        check_metadata(metadata)
        checked_notify = self._channels.checked(notify)
        rows = batches.rows_of(items, self._signature, keeps_args=options.idempotency_key is not None)
        first_options = replace(options, metadata=items[0].metadata)
        request: JsonValue = {"jobs": rows.args}
        first = self.new_job(items[0].args, first_options, request=request)
        return NewBatch(new_id(), replace(first, id=rows.job_ids[0]), rows, metadata or {}, checked_notify)

    def submit_batch(self, session: Session, batch: NewBatch) -> BatchAccepted:
        """Write a `new_batch` in the caller's transaction, and hand its jobs over once that commits.

        Raises:
            IdempotencyConflict: its key stands for another request.
        """
        first = self.admitted(batch.first, session)
        if known := batches.begin(session, first):
            return known
        handed_over = 0
        if first.is_handed_over:
            for job_id in islice(batch.job_ids, batches.HANDED_OVER):
                if handed_over and not self.outbox.has_room(session, first.queue, first.priority):
                    break
                delivery = Delivery(job_id, first.task, first.queue, first.priority)
                self.outbox.send_after_commit(session, delivery)
                handed_over += 1
        return batches.complete(session, batch, handed_over=handed_over)

    def new_job(
        self, arguments: Mapping[str, Any], options: JobOptions, *, request: JsonValue = None
    ) -> store.NewJob:
        """A job as it would be written, checked in all there is to check without the database.

        Args:
            arguments: the task's.
            options: of `enqueue`.
            request: what an idempotency key stands for, if it is not the arguments.

        Raises:
            InvalidArguments: the arguments do not fit, or cannot be stored.
        """
        args, key = self._signature.dump_arguments(arguments), options.idempotency_key
        return store.NewJob(
            id=new_id(),
            task=self.name,
            args=args,
            queue=self.options.queue,
            priority=self.options.priority if options.priority is None else options.priority,
            max_attempts=self.options.retry.max_attempts,
            max_crashes=self.options.max_crashes,
            owner_id=options.owner_id,
            delay=options.wait,
            run_at=options.run_at,
            idempotency_key=key,
            request_hash=None if key is None else idempotency.hash_request(request or {"args": args}),
            timeout=duration(options.timeout) or self.options.timeout,
            deadline=duration(options.deadline) or self.options.deadline,
            start_by=duration(options.start_by) or self.options.start_by,
            metadata=options.metadata,
            notify=self._channels.checked(options.notify),
        )

    def submit(self, session: Session, job: store.NewJob) -> JobAccepted:
        """Write a `new_job` in the caller's transaction, and hand it over once that commits.

        Raises:
            IdempotencyConflict: its key stands for another request.
        """
        job = self.admitted(job, session)
        if job.idempotency_key is None:
            store.enqueue(session, job)
        elif known := idempotency.enqueue_once(session, job):
            return JobAccepted(job_id=known.job_id, status=known.status, created=False)
        if job.is_handed_over:
            self.outbox.send_after_commit(session, Delivery(job.id, job.task, job.queue, job.priority))
        return JobAccepted(job_id=job.id)

    def admitted(self, job: store.NewJob, session: Session | None = None) -> store.NewJob:
        """The job as it is written, in a session or by itself: left to the relay if there is no room."""
        if job.is_due and not self.outbox.has_room(session, job.queue, job.priority):
            return replace(job, is_left_to_relay=True)
        return job

    def load_arguments(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The stored arguments as Python values; raises `InvalidArguments` if they no longer fit."""
        return self._signature.load_arguments(args)

    def dump_result(self, value: object) -> JsonValue:
        """A returned value as JSON; raises `PermanentError` if it does not fit, or cannot be stored."""
        return self._signature.dump_result(value)

    def load_result(self, result: JsonValue) -> Any:  # noqa: ANN401 - the type is the function's
        """A stored result as the return annotation says; raises `PermanentError` if it no longer fits."""
        return self._signature.load_result(result)

    def _check_defaults(self) -> None:
        if required := self._signature.required:
            missing = ", ".join(required)
            raise ConfigurationError(f"Task {self.name} is run by cron, so {missing} must have a default.")
