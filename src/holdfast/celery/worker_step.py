"""What every worker runs beside its pool: the keeper of its leases, the relay and the scheduler."""

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import bootsteps, signals
from celery.worker import state

from holdfast.celery.liveness import Consumption
from holdfast.celery.pulling import Pulling
from holdfast.celery.redis_broker import keep_client
from holdfast.celery.shutdown import Shutdown
from holdfast.jobs.counting import Counting
from holdfast.jobs.database import Database
from holdfast.jobs.delivery.relay import Relay, WorkerThreads
from holdfast.jobs.ending.enforcer import Enforcer
from holdfast.jobs.ending.stopping import StopSign, Timetable
from holdfast.jobs.events import EventSink
from holdfast.jobs.outcome import Decision
from holdfast.jobs.registry import Registry
from holdfast.jobs.schedules import Scheduler
from holdfast.jobs.workers import Worker, WorkerFacts


class Identity:
    """Who holds the leases of this worker: its main process, for all its children.

    The name is drawn when first asked for. `WorkerStep` asks before the pool forks, so that the children
    inherit it.
    """

    def __init__(self, lease: timedelta) -> None:
        self._lease = lease
        self._worker: Worker | None = None

    def __call__(self) -> Worker:
        """The worker of this process."""
        if self._worker is None:
            name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
            self._worker = Worker(name, self._lease)
        return self._worker


@dataclass(frozen=True)
class WorkerParts:
    """What a worker's main process is made of.

    Attributes:
        database: with connections that no user code can hold.
        tasks: by whose policies attempts are ended.
        sign: what tells the worker's processes of its shutdown.
        timetable: of the shutdown.
        on_end: told of a job's id and what was decided of it, before the process that has it is killed.
        sink: told of what becomes of jobs.
    """

    relay: Relay
    scheduler: Scheduler
    counting: Counting
    consumption: Consumption
    pulling: Pulling
    database: Database
    identity: Identity
    tasks: Registry
    sign: StopSign
    timetable: Timetable
    on_end: Callable[[str, Decision], object]
    sink: EventSink


def worker_step(parts: WorkerParts) -> type[bootsteps.StartStopStep]:
    """A bootstep that runs what `WorkerThreads` runs as long as the worker does, and ends that in time."""

    class WorkerStep(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
            super().__init__(parent, **options)
            worker, consumption = parts.identity(), parts.consumption
            parts.sign.open()
            self._threads = WorkerThreads(
                parts.relay,
                parts.scheduler,
                parts.counting,
                consumption.look,
                parts.database,
                worker,
                lambda: _facts(parent, consumption, parts.pulling),
                Enforcer(worker, parts.tasks, parts.on_end, parts.sink).round,
                parts.sink,
            )
            self._shutdown = Shutdown(
                parent, worker.name, parts.database, parts.sign, parts.timetable, self._threads.stop
            )

        def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's worker
            # The end of a warm shutdown. `stop` would come before that of the pool, which waits for the
            # running jobs as long as they take, and their leases have to be kept all the while.
            signals.worker_shutdown.connect(self._end, sender=parent)
            signals.worker_shutting_down.connect(self._shutdown.begin, sender=parent.hostname)
            parts.pulling.attach(parent.pool)
            self._shutdown.start()
            self._threads.start()

        def stop(self, _parent: object) -> None:
            pass

        def terminate(self, _parent: object) -> None:
            self._end()

        def _end(self, **_: object) -> None:
            parts.pulling.give_back_rest()
            self._threads.stop()

    return WorkerStep


class SurviveBrokerLoss(bootsteps.StartStopStep):
    """A bootstep of Celery's consumer: losing the broker must not end the worker.

    When the connection is lost, kombu 5.7 puts unacknowledged messages, those of running jobs among them,
    back through a Redis client that is no more, and the AttributeError ends the worker. Nothing has to be put
    back then: running jobs run on, and the relay sends again what was not started. At a regular end messages
    are given back at once, as always.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """Connected, for the first time or again."""
        self._restore(parent, wanted=False)

    def stop(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """About to end in order, or already disconnected."""
        self._restore(parent, wanted=True)

    def _restore(self, consumer: Any, *, wanted: bool) -> None:  # noqa: ANN401 - Celery's consumer
        channel: Any = getattr(consumer.task_consumer, "channel", None)
        # Only kombu's emulated transports have it; AMQP's broker puts messages back by itself.
        if hasattr(channel, "do_restore"):
            channel.do_restore = wanted


class KeepRedisClient(bootsteps.StartStopStep):
    """A bootstep of Celery's consumer: messages are taken and acknowledged by one client of Redis."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """Connected, for the first time or again."""
        keep_client(parent.task_consumer.channel)


def _facts(worker: Any, consumption: Consumption, pulling: Pulling) -> WorkerFacts:  # noqa: ANN401 - Celery's worker
    consumed = sorted(worker.app.amqp.queues.consume_from)
    return WorkerFacts(
        host=socket.gethostname(),
        pid=os.getpid(),
        pool=worker.pool_cls.__module__.rpartition(".")[2].removesuffix("_pool"),
        concurrency=worker.concurrency,
        queues=consumed,
        pulls=pulling.queues(consumed),
        running=len(state.active_requests),
        is_consuming=consumption.is_well,
    )
