"""Celery as the carrier of jobs: a message holds a job's id, and nothing that matters."""

from collections.abc import Sequence

from celery import Celery
from kombu.exceptions import ChannelError, OperationalError

from holdfast.errors import CarrierUnavailable
from holdfast.jobs.store import Delivery


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
                    self._app.send_task(
                        delivery.task,
                        args=[str(delivery.id)],
                        task_id=str(delivery.id),
                        queue=delivery.queue,
                        priority=delivery.priority,
                        argsrepr=f"({str(delivery.id)!r},)",
                        kwargsrepr="{}",
                        producer=producer,
                    )
        except unavailable(self._app) as error:
            raise CarrierUnavailable(f"{type(error).__name__}: {error}") from error

    def backlog(self, queue: str) -> int:
        """How many messages wait in the queue, those already handed to a worker not counted.

        Raises:
            CarrierUnavailable: the broker cannot be asked.
        """
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
                with connection.channel() as channel:
                    declared = channel.queue_declare(queue, passive=True)  # type: ignore[attr-defined]
                    return int(declared.message_count)
        except ChannelError:
            return 0  # no such queue: nothing waits in it
        except unavailable(self._app) as error:
            raise CarrierUnavailable(f"{type(error).__name__}: {error}") from error


def unavailable(app: Celery) -> tuple[type[BaseException], ...]:
    """The exceptions that mean: broker or result backend cannot be reached just now."""
    return (OperationalError, OSError, *app.connection_for_write().connection_errors)
