"""What every worker runs beside its pool: the relay, and the heartbeat of its leases."""

import os
import secrets
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from celery import bootsteps, signals
from celery.worker import state

from holdfast.celery.job_task import JobTask
from holdfast.jobs.database import Database
from holdfast.jobs.relay import Relay, RelayThread
from holdfast.jobs.runner import Worker


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


def worker_step(relay: Relay, database: Database, identity: Identity) -> type[bootsteps.StartStopStep]:
    """A Celery bootstep that runs relay and heartbeat as long as the worker runs."""

    class WorkerStep(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
            super().__init__(parent, **options)
            self._thread = RelayThread(relay, database, identity(), running_jobs)

        def start(self, parent: object) -> None:
            # The end of a warm shutdown. `stop` would come before that of the pool, which waits for the
            # running jobs as long as they take, and their leases have to be kept all the while.
            signals.worker_shutdown.connect(self._end, sender=parent)
            self._thread.start()

        def stop(self, _parent: object) -> None:
            pass

        def terminate(self, _parent: object) -> None:
            self._thread.stop()

        def _end(self, **_: object) -> None:
            self._thread.stop()

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


def running_jobs() -> list[UUID]:
    """The jobs this worker's pool runs just now."""
    return [UUID(request.id) for request in _copy(lambda: list(state.active_requests)) if _is_job(request)]


def _is_job(request: Any) -> bool:  # noqa: ANN401 - Celery's request
    return isinstance(request.task, JobTask)


def _copy(read: Callable[[], list[Any]]) -> list[Any]:
    # The set belongs to another thread; reading it while it changes raises, and reading it again helps.
    while True:
        try:
            return read()
        except RuntimeError:
            continue
