"""Celery as the carrier of jobs: a message holds a job's id, and nothing that matters."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from celery import Celery
from kombu.exceptions import (  # type: ignore[attr-defined]
    BatchPublishError,
    ConnectionLimitExceeded,
    OperationalError,
)
from kombu.messaging import Producer
from kombu.transport.redis import Channel

from holdfast.celery.redis_broker import RedisBroker
from holdfast.celery.redis_publishing import GatheringProducer
from holdfast.errors import CarrierUnavailable
from holdfast.jobs.delivery.sending import Delivery
from holdfast.jobs.delivery.waiting import Backlog

# Tells a message of ours from that of any other Celery task.
JOB_HEADER = "holdfast"
# The sign goes by itself where whoever was told of a blank broker did not get to what has to be done.
_SIGN = "sign"
_SIGNING = timedelta(seconds=10)
_ANSWER_SECONDS = 1.0
_FREE_CONNECTION_SECONDS = 5.0


class CeleryCarrier:
    """Publishes deliveries, and sees what waits. Every method raises `CarrierUnavailable`."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        # Threads do not share producers: connections are handed from one thread to another.
        self._kept = threading.local()

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Publish a message for each job, in one batch where the transport can.

        Raises:
            CarrierUnavailable: some may not have been taken; some may have been all the same.
        """
        try:
            self._send(deliveries)
        except CarrierUnavailable:
            # The connection may have been lost while nobody used it.
            self._send(deliveries)

    def _send(self, deliveries: Sequence[Delivery]) -> None:
        with self._channel() as channel:
            if not isinstance(channel, Channel):
                self._send_with(Producer(channel, auto_declare=False), deliveries)
                return
            producer = self._producer_on(channel)
            try:
                self._send_with(producer, deliveries)
                producer.flush()
            except BaseException:
                # What it still keeps must not be sent later.
                self._kept.producer = None
                raise

    def backlog(self, queue: str) -> Backlog:
        """How many messages wait in the queue, those already handed to a worker not counted."""
        with self._channel() as channel:
            redis = RedisBroker.of(channel)
            if redis is not None:
                return redis.backlog(queue)
            # Declared as a worker declares it, which changes nothing where it is.
            declared: Any = self._app.amqp.queues[queue](channel).queue_declare()
            return Backlog({0: int(declared.message_count)})

    def waiting_jobs(self, queue: str) -> set[UUID] | None:
        """The jobs whose messages wait in the queue; `None`: only Redis shows them."""
        with self._channel() as channel:
            redis = RedisBroker.of(channel)
            return None if redis is None else redis.waiting_jobs(queue)

    def is_blank(self) -> bool:
        """Whether a Redis is new, or has forgotten everything; never of another broker."""
        return self._reserve(_SIGN, _SIGNING, otherwise=False)

    def sign(self) -> None:
        """Leave a sign in Redis that goes when it forgets."""
        with self._channel() as channel:
            redis = RedisBroker.of(channel)
            if redis is not None:
                redis.keep(_SIGN)

    def reserve(self, what: str, pause: timedelta, *, renew: bool = False) -> bool:
        """Whether nobody has reserved this, which it then is; always so where the broker is not Redis."""
        return self._reserve(what, pause, otherwise=True, renew=renew)

    def workers_that_know(self, task: str) -> Sequence[str]:
        """The workers that answer within a second and have this task."""
        try:
            answers = self._app.control.inspect(timeout=_ANSWER_SECONDS).registered() or {}
        except unavailable(self._app) as error:
            raise CarrierUnavailable(f"{type(error).__name__}: {error}") from error
        # A task may be followed by its attributes.
        return sorted(
            worker for worker, tasks in answers.items() if task in {name.split(" ")[0] for name in tasks}
        )

    def _reserve(self, what: str, pause: timedelta, *, otherwise: bool, renew: bool = False) -> bool:
        with self._channel() as channel:
            redis = RedisBroker.of(channel)
            return otherwise if redis is None else redis.reserve(what, pause, renew=renew)

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        try:
            # A connection on which something went wrong does not go back into the pool.
            pool: Any = self._app.pool
            with pool.acquire(block=True, timeout=_FREE_CONNECTION_SECONDS) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
                yield connection.default_channel
        except unavailable(self._app) as error:
            raise CarrierUnavailable(f"{type(error).__name__}: {error}") from error

    def _producer_on(self, channel: Channel) -> GatheringProducer:
        kept: GatheringProducer | None = getattr(self._kept, "producer", None)
        if kept is None or kept.channel is not channel:
            kept = self._kept.producer = GatheringProducer(channel)
        return kept

    def _send_with(self, producer: Producer, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._publish(producer, delivery)

    def _publish(self, producer: Producer, delivery: Delivery) -> None:
        # Not `send_task`: that also subscribes this process to the result of every job it sends, for ever,
        # and fails when Redis has gone away in a way that its own errors do not tell.
        job_id = str(delivery.id)
        message = self._app.amqp.create_task_message(
            job_id, delivery.task, args=[job_id], kwargs={}, argsrepr=f"({job_id!r},)", kwargsrepr="{}"
        )
        message.headers[JOB_HEADER] = True
        self._app.amqp.send_task_message(
            producer, delivery.task, message, queue=delivery.queue, priority=delivery.priority, retry=False
        )


def unavailable(app: Celery) -> tuple[type[BaseException], ...]:
    """The exceptions that mean: the broker cannot be reached just now, or refuses what it is asked."""
    transport = app.connection_for_write()
    errors = (*transport.connection_errors, *transport.channel_errors)
    return (OperationalError, BatchPublishError, ConnectionLimitExceeded, OSError, *errors)
