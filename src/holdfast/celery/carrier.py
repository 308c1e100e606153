"""Celery as the carrier of jobs: a message holds a job's id, and nothing that matters."""

from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]
from kombu.messaging import Producer

from holdfast.errors import CarrierUnavailable
from holdfast.jobs.sending import Delivery


class CeleryCarrier:
    """Publishes deliveries and counts what waits."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Publish a message for each job, in one batch where the transport can.

        Raises:
            CarrierUnavailable: some may not have been taken; some may have been all the same.
        """
        try:
            with self._app.producer_or_acquire() as producer, producer.batch(max_size=len(deliveries)):
                for delivery in deliveries:
                    self._publish(producer, delivery)
        except unavailable(self._app) as error:
            raise CarrierUnavailable(f"{type(error).__name__}: {error}") from error

    def backlog(self, queue: str) -> int:
        """How many messages wait in the queue, those already handed to a worker not counted.

        Raises:
            CarrierUnavailable: the broker cannot be asked, or does not answer with a number.
        """
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
                with connection.channel() as channel:
                    # Declared as a worker declares it, which changes nothing where it is. A passive declare,
                    # which only asks, finds no queue on Redis: kombu 5.7 forgets the key prefix in EXISTS.
                    declared: Any = self._app.amqp.queues[queue](channel).queue_declare()
                    return int(declared.message_count)
        except unavailable(self._app) as error:
            raise CarrierUnavailable(f"{type(error).__name__}: {error}") from error

    def _publish(self, producer: Producer, delivery: Delivery) -> None:
        # Not `send_task`: that also subscribes this process to the result of every job it sends, for ever,
        # and fails when Redis has gone away in a way that its own errors do not tell.
        job_id = str(delivery.id)
        message = self._app.amqp.create_task_message(
            job_id, delivery.task, args=[job_id], kwargs={}, argsrepr=f"({job_id!r},)", kwargsrepr="{}"
        )
        self._app.amqp.send_task_message(
            producer, delivery.task, message, queue=delivery.queue, priority=delivery.priority
        )


def unavailable(app: Celery) -> tuple[type[BaseException], ...]:
    """The exceptions that mean: the broker cannot be reached just now, or refuses what it is asked."""
    transport = app.connection_for_write()
    errors = (*transport.connection_errors, *transport.channel_errors)
    return (OperationalError, BatchPublishError, OSError, *errors)
