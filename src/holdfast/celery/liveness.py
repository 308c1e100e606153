"""Whether a worker's consumer still takes messages, and the end of a worker whose consumer does not.

After a reconnect a Celery worker can be alive and well, and never receive another message. Only a start anew
helps: the worker ends, and its supervisor starts another.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import bootsteps, signals
from celery.worker import state

from holdfast.celery.carrier import JOB_HEADER
from holdfast.errors import CarrierUnavailable
from holdfast.jobs import queues
from holdfast.jobs.database import Database
from holdfast.jobs.delivery.outbox import Carrier
from holdfast.jobs.delivery.unknown_tasks import UnknownTask, UnknownTasks

log = logging.getLogger(__name__)

# Messages wait, slots are free, and none comes for so long. A consumer that works takes one within
# milliseconds; a reconnect takes seconds, and a broker that is busy may need some as well.
IDLE_SECONDS = 15.0
# So long the consumer's loop may stand, which turns many times a second: it connects anew, or looks at the
# health of its connections, with timeouts of five seconds each.
STANDING_SECONDS = 30.0
# A worker whose loop stands does not see the signal to end, and is killed so much later.
KILL_SECONDS = 30.0
# Older than this, what the loop or the broker said does not count as being well.
DOUBT_SECONDS = 5.0


class Consumption:
    """What is known of a worker's consumer: told by Celery's threads, judged by `look` in one of its own."""

    def __init__(
        self, carrier: Carrier, database: Database, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._carrier = carrier
        self._database = database
        self._clock = clock
        self._consumer: Any = None
        self._turned_at = 0.0
        self._received = self._received_before = 0
        self._idle_since: float | None = None
        self._is_broker_away = False
        self._ended_at: float | None = None

    def begin(self, consumer: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """The consumer is connected, and takes messages from now on."""
        self._turned_at, self._idle_since = self._clock(), None
        self._consumer = consumer

    def end(self) -> None:
        """The consumer has lost its connection, or ends."""
        self._consumer = None

    def turn(self) -> None:
        """The consumer's loop turns."""
        self._turned_at = self._clock()

    def receive(self, **_: object) -> None:
        """The consumer has received a message."""
        self._received += 1

    @property
    def is_well(self) -> bool:
        """Whether the worker would take a job now if it had a slot for it, as far as can be told."""
        consumer, now = self._consumer, self._clock()
        if consumer is None or self._is_broker_away or not _queues(consumer) or is_ending():
            return False
        stands = _has_free_slot(consumer) and now - self._turned_at > DOUBT_SECONDS
        return not stands and (self._idle_since is None or now - self._idle_since < DOUBT_SECONDS)

    def look(self) -> None:
        """See whether messages wait that the consumer should have taken; end the worker if they do for long.

        Raises:
            CarrierUnavailable, SQLAlchemyError: it cannot be told; nobody could consume just now.
        """
        consumer, received = self._consumer, self._received
        if self._ended_at is not None:
            self._insist()
        elif consumer is None or is_ending() or not _has_free_slot(consumer):
            self._idle_since = None
        elif self._clock() - self._turned_at > STANDING_SECONDS:
            self._end_worker("its loop stands")
        elif received != self._received_before:
            self._idle_since = None
        else:
            self._judge(consumer)
        self._received_before = received

    def _judge(self, consumer: Any) -> None:  # noqa: ANN401 - Celery's consumer
        try:
            messages_wait = self._messages_wait(_queues(consumer))
            self._is_broker_away = False
        except CarrierUnavailable:
            self._is_broker_away, self._idle_since = True, None
            raise
        if not messages_wait:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._clock()
        elif self._clock() - self._idle_since > IDLE_SECONDS:
            self._end_worker("messages wait for it, and it takes none")

    def _messages_wait(self, names: list[str]) -> bool:
        waiting = [name for name in names if self._carrier.backlog(name).total]
        if not waiting:
            return False
        with self._database.session() as session:
            paused = queues.paused_queues(session)
        return any(name not in paused for name in waiting)

    def _end_worker(self, why: str) -> None:
        self._ended_at = self._clock()
        log.critical("The consumer of this worker has stopped (%s); the worker ends, to be started anew", why)
        os.kill(os.getpid(), signal.SIGTERM)

    def _insist(self) -> None:
        ended_at = self._ended_at or 0.0
        if self._turned_at < ended_at and self._clock() - ended_at > KILL_SECONDS:
            log.critical("This worker does not end by itself, and is killed")
            os.kill(os.getpid(), signal.SIGKILL)


def consumer_step(consumption: Consumption, unknown_tasks: UnknownTasks) -> type[bootsteps.StartStopStep]:
    """A bootstep of Celery's consumer that tells of it, and notes the jobs whose task it does not know."""

    class ConsumerStep(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
            super().__init__(parent, **options)
            self._timer: Any = None
            parent.on_unknown_task = _handler(parent, consumption, unknown_tasks)
            signals.task_received.connect(consumption.receive)

        def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
            consumption.begin(parent)
            # In the consumer's loop, unless the pool has none.
            self._timer = parent.timer.call_repeatedly(1.0, consumption.turn)

        def stop(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
            consumption.end()
            if self._timer is not None:
                parent.timer.cancel(self._timer)

    return ConsumerStep


def _handler(
    consumer: Any,  # noqa: ANN401 - Celery's consumer
    consumption: Consumption,
    unknown_tasks: UnknownTasks,
) -> Callable[..., None]:
    otherwise, errors = consumer.on_unknown_task, consumer.connection_errors

    def on_unknown_task(body: object, message: Any, exc: BaseException) -> None:  # noqa: ANN401 - kombu's message
        consumption.receive()
        headers = message.headers or {}
        # Celery would write an error with a traceback each time, and give the job's result as a failure.
        if not headers.get(JOB_HEADER):
            otherwise(body, message, exc)
            return
        message.reject_log_error(log, errors)
        queue = message.delivery_info.get("routing_key") or "?"
        unknown_tasks.note(UnknownTask(UUID(headers["id"]), headers["task"], queue))

    return on_unknown_task


def _queues(consumer: Any) -> list[str]:  # noqa: ANN401 - Celery's consumer
    return sorted(consumer.app.amqp.queues.consume_from)


def _has_free_slot(consumer: Any) -> bool:  # noqa: ANN401 - Celery's consumer
    return len(state.reserved_requests) < (consumer.pool.num_processes or 1)


def is_ending() -> bool:
    """Whether this worker shuts down."""
    # Each is an exit code when it is set, and the usual one is zero.
    signs: list[Any] = [state.should_stop, state.should_terminate]
    return any(sign is not None and sign is not False for sign in signs)
