"""`worker_tasks`, on a worker that SIGUSR2 makes deaf: it lives on, and receives no more messages."""

import signal

from celery.signals import worker_ready

from worker_tasks import app, holdfast

__all__ = ["app", "holdfast"]


@worker_ready.connect
def await_deafness(sender, **_):
    # Not as `celery control cancel_consumer` does it: the worker still means to consume.
    signal.signal(signal.SIGUSR2, lambda *_: sender.task_consumer.cancel())
