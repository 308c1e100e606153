"""`Holdfast`: the public face of the engine, and where its parts meet."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Concatenate, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload
from uuid import UUID

from holdfast.celery.application import make_celery
from holdfast.celery.carrier import CeleryCarrier
from holdfast.celery.configuration import CelerySettings
from holdfast.celery.dead_children import ReplaceDeadChildren
from holdfast.celery.events import FlushEvents
from holdfast.celery.liveness import Consumption, consumer_step
from holdfast.celery.progress import show_progress
from holdfast.celery.pulling import Pulling, pull_step
from holdfast.celery.results import ResultWriter
from holdfast.celery.tasks import TaskParts, celery_task
from holdfast.celery.worker_step import Identity, KeepRedisClient, SurviveBrokerLoss, WorkerParts, worker_step
from holdfast.engines import EmbeddedEngines, EngineUrls
from holdfast.errors import ConfigurationError
from holdfast.jobs.channels import Channels
from holdfast.jobs.context import JobContext
from holdfast.jobs.counting import Counting
from holdfast.jobs.cron import Cron, Missed
from holdfast.jobs.database import Database
from holdfast.jobs.delivery.outbox import Outbox
from holdfast.jobs.delivery.relay import Relay
from holdfast.jobs.ending.stopping import StopSign, Timetable
from holdfast.jobs.loop_runner import LoopRunner
from holdfast.jobs.options import duration
from holdfast.jobs.process import PerProcess
from holdfast.jobs.pulling import Puller
from holdfast.jobs.registry import Registry
from holdfast.jobs.retention import Retention
from holdfast.jobs.runner import Runner
from holdfast.jobs.schedules import Scheduler
from holdfast.jobs.task import Task, TaskOptions
from holdfast.live import EventWriter, ProgressReader, ProgressWriter
from holdfast.retry import Backoff, RetryPolicy
from holdfast.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

# What the names of built-in tasks begin with.
RESERVED_NAMES = "holdfast."


class TaskKeywords(TypedDict, total=False):
    """What a task can be registered with.

    Attributes:
        name: how table, API and Celery call it; the function's name if not given.
        queue: where its jobs wait.
        priority: 0 (first) to 9 (last); 5 if not given.
        retries: how often a failed job is tried again; 3 if not given.
        retry_delay: seconds before a retry; 60 if not given.
        backoff: `fixed`, or `exponential` to double the delay each time.
        jitter: draw each delay between zero and its full length.
        max_retry_delay: seconds that `exponential` comes to at most; 3600 if not given.
        retry_on: the exceptions that are worth a retry; all if not given.
        dont_retry_on: exceptions that are not, even if they are among those.
        max_crashes: how many lost workers end a job as poisonous; 3 if not given.
        timeout: seconds that an attempt may take; it then counts as failed, with the code `timeout`.
        deadline: seconds from its submission after which a job ends, with the code `deadline_exceeded`.
        start_by: seconds from its submission within which a job must start; it ends as `expired` if not.
        exposed: any API key may ask for it over HTTP by its name, with arguments of its choice; False if not
            given. Not `public`: a key is needed all the same.
        cpu_bound: it computes rather than waits: the asyncio pool runs it in a process; False if not given.
        cron: run it by the clock as well, by an expression of five fields such as `0 3 * * *`; its arguments
            must all have defaults.
        timezone: of the expression, such as `Europe/Paris`; UTC if not given.
        missed: which ticks are made up for when no worker ran: the `latest` if not given, `all` up to 1,000,
            or to `skip` those older than a minute.
    """

    name: str
    queue: str
    priority: int
    retries: int
    retry_delay: float
    backoff: Backoff
    jitter: bool
    max_retry_delay: float
    retry_on: tuple[type[BaseException], ...]
    dont_retry_on: tuple[type[BaseException], ...]
    max_crashes: int
    timeout: timedelta | float
    deadline: timedelta | float
    start_by: timedelta | float
    exposed: bool
    cpu_bound: bool
    cron: str
    timezone: str
    missed: Missed


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[Concatenate[JobContext, P], Awaitable[R]], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[JobContext, P], R], /) -> Task[P, R]: ...


class Holdfast:
    """Durable jobs for one application: its tasks, its database, its Celery.

    Making one reads the settings and connects to nothing; what is not configured is started, from the
    embedded engines, when it is first needed.

        holdfast = Holdfast()

        @holdfast.task(retries=3)
        def summarize(job: JobContext, document_id: UUID) -> str: ...

        celery = holdfast.celery        # celery -A myapp.jobs worker

    Args:
        settings: instead of those of the environment.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.tasks = Registry()
        self.celery = make_celery(self._celery_settings)
        self.database = Database(
            lambda: required(self.urls.database_url), pool_size=self.settings.database_pool_size
        )
        self.progress = ProgressReader(lambda: required(self.urls.redis_url), self.settings.key_prefix)
        self.events = EventWriter(lambda: required(self.urls.redis_url), self.settings.key_prefix)
        self._identity = Identity(self.settings.lease)
        carrier = CeleryCarrier(self.celery)
        self.outbox = Outbox(self.database, carrier)
        self.channels = Channels()
        self._writer = PerProcess(self._progress_writer)
        sign, timetable = StopSign(), Timetable(self.settings.shutdown)
        runner = Runner(self.database, self._show_progress, sign, timetable, self.events)
        self._parts = TaskParts(
            runner,
            LoopRunner(runner, self._identity),
            PerProcess(lambda: ResultWriter(self.celery)),
            self._identity,
            ended_by_force={},
        )
        self._add_steps(carrier, sign, timetable)
        if self.settings.retention_days:
            self._add_retention(timedelta(days=self.settings.retention_days))

    def _add_steps(self, carrier: CeleryCarrier, sign: StopSign, timetable: Timetable) -> None:
        """What every worker runs besides its jobs."""
        tasks, loop_runner = self._parts, self._parts.loop_runner
        puller = Puller(lambda: required(self.urls.database_url), self.tasks, lambda: loop_runner.holder)
        pulling = Pulling(puller, tasks.runner.claims, tasks.runner.give_back, loop_runner.doubt)
        # Connections of its own: jobs in threads may hold every other one, and would lose their leases by it.
        keeping = Database(lambda: required(self.urls.database_url), pool_size=5, silence_seconds=5)
        relay = Relay(keeping, carrier, on_backlog=pulling.wake, knows=self.tasks.names)
        scheduler = Scheduler(keeping, self.tasks)
        consumption = Consumption(carrier, keeping)
        parts = WorkerParts(
            relay,
            scheduler,
            Counting(keeping),
            consumption,
            pulling,
            keeping,
            self._identity,
            self.tasks,
            sign,
            timetable,
            on_end=tasks.ended_by_force.__setitem__,
            sink=self.events,
        )
        self.celery.steps["worker"].add(worker_step(parts))
        self.celery.steps["consumer"].update(
            [
                SurviveBrokerLoss,
                KeepRedisClient,
                ReplaceDeadChildren,
                FlushEvents,
                consumer_step(consumption, relay.unknown_tasks),
                pull_step(pulling),
            ]
        )

    @cached_property
    def urls(self) -> EngineUrls:
        """Where PostgreSQL and Redis are; asking starts the embedded ones if they are not configured."""
        configured = EngineUrls(self.settings.database_url, self.settings.redis_url)
        if configured.database_url and configured.redis_url:
            return configured
        started = self._engines.start()
        return EngineUrls(
            configured.database_url or started.database_url, configured.redis_url or started.redis_url
        )

    def revive_engines(self) -> bool:
        """Start embedded engines anew that have died; whether any had. Cheap to ask often."""
        return self._engines.revive()

    @cached_property
    def _engines(self) -> EmbeddedEngines:
        return EmbeddedEngines(
            self.settings.home,
            postgres=self.settings.database_url is None,
            valkey=self.settings.redis_url is None,
        )

    @overload
    def task(self, function: Callable[Concatenate[JobContext, P], Awaitable[R]], /) -> Task[P, R]: ...

    @overload
    def task(self, function: Callable[Concatenate[JobContext, P], R], /) -> Task[P, R]: ...

    @overload
    def task(self, **keywords: Unpack[TaskKeywords]) -> _Decorator: ...

    def task(self, function: Callable[..., Any] | None = None, /, **keywords: Unpack[TaskKeywords]) -> Any:  # type: ignore[misc]
        """Register a function, `def` or `async def`, as a task; its first parameter is the `JobContext`.

        Works bare, `@holdfast.task`, and with keywords, `@holdfast.task(retries=5)`: see `TaskKeywords`.

        Raises:
            ConfigurationError: the name is taken, the function's parameters cannot be stored, or an option
                cannot be what was given.
        """
        if function is None:
            return lambda function: self._register(function, keywords)
        return self._register(function, keywords)

    def _register(self, function: Callable[..., Any], keywords: TaskKeywords) -> Task[..., Any]:
        name = keywords.get("name") or function.__name__
        if name.startswith(RESERVED_NAMES):
            raise ConfigurationError(f"Names that begin with {RESERVED_NAMES!r} are Holdfast's own: {name}.")
        return self._add(name, function, keywords)

    def _add(self, name: str, function: Callable[..., Any], keywords: TaskKeywords) -> Task[..., Any]:
        task: Task[..., Any] = Task(name, function, _options(keywords), self.outbox, self.channels)
        self.tasks.add(task)
        self.celery.register_task(celery_task(task, self._parts))
        return task

    def _add_retention(self, age: timedelta) -> None:
        keywords: TaskKeywords = {"cron": "17 3 * * *", "priority": 9}
        self._add(f"{RESERVED_NAMES}retention", Retention(self.database, age).run, keywords)

    def _celery_settings(self) -> CelerySettings:
        broker = self.settings.broker_url
        return CelerySettings(
            redis_url=required(self.urls.redis_url),
            broker_url=None if broker is None else broker.get_secret_value(),
            key_prefix=self.settings.key_prefix,
            threads=self.settings.worker_threads,
            processes=self.settings.worker_processes,
        )

    def _progress_writer(self) -> ProgressWriter:
        return ProgressWriter(required(self.urls.redis_url), self.settings.key_prefix)

    def _show_progress(self, news: Mapping[UUID, dict[str, Any]]) -> None:
        # Celery's result backend is on the same Redis, and waits for it longer.
        if self._writer.get().write(news):
            show_progress(self.celery, news)


def required(url: str | None) -> str:
    """The URL of an engine that was configured or started, and so is known."""
    assert url is not None  # noqa: S101 - `Holdfast.urls` fills both
    return url


def _options(keywords: TaskKeywords) -> TaskOptions:
    retry = RetryPolicy(
        retries=keywords.get("retries", 3),
        delay=timedelta(seconds=keywords.get("retry_delay", 60)),
        backoff=keywords.get("backoff", "fixed"),
        max_delay=timedelta(seconds=keywords.get("max_retry_delay", 3600)),
        jitter=keywords.get("jitter", False),
        retry_on=keywords.get("retry_on"),
        dont_retry_on=keywords.get("dont_retry_on", ()),
    )
    return TaskOptions(
        keywords.get("queue", "default"),
        keywords.get("priority", 5),
        retry,
        keywords.get("max_crashes", 3),
        exposed=keywords.get("exposed", False),
        cpu_bound=keywords.get("cpu_bound", False),
        cron=_cron(keywords),
        timeout=duration(keywords.get("timeout")),
        deadline=duration(keywords.get("deadline")),
        start_by=duration(keywords.get("start_by")),
    )


def _cron(keywords: TaskKeywords) -> Cron | None:
    if "cron" in keywords:
        return Cron(keywords["cron"], keywords.get("timezone", "UTC"), keywords.get("missed", "latest"))
    if "timezone" in keywords or "missed" in keywords:
        raise ConfigurationError("timezone and missed say something of a cron, and there is none.")
    return None
