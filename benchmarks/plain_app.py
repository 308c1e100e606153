"""Celery with Holdfast's own settings and no Holdfast: what carrying a message costs by itself.

Two tasks: one that does nothing and records nothing, and one as the usual recipe has it, which writes
"processing" and "completed" into a row of its own, by id.
"""

import os

import psycopg
from celery import Celery
from celery.signals import worker_process_init

from holdfast.celery.configuration import CelerySettings, configuration

QUEUE = "plain"

app = Celery("plain", set_as_current=False)
app.conf.update(configuration(CelerySettings(os.environ["REDIS_URL"], None, "plain:")))
app.conf.task_default_queue = QUEUE


@app.task(name="nothing")
def nothing(job_id: str) -> None:
    """Do nothing."""


class _Connection:
    """The connection of a pool process, made when it starts."""

    current: psycopg.Connection


@worker_process_init.connect
def connect(**_: object) -> None:
    _Connection.current = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


@app.task(name="recorded")
def recorded(job_id: str) -> None:
    """Do nothing, and say so in a table."""
    for status in ("processing", "completed"):
        _Connection.current.execute(
            "UPDATE public.recipe SET status = %s, updated_at = now() WHERE id = %s", (status, job_id)
        )
