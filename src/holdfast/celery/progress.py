"""A running job's progress as Celery's own state, for tools that ask `AsyncResult`."""

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from celery import Celery

log = logging.getLogger(__name__)


def show_progress(app: Celery, news: Mapping[UUID, dict[str, Any]]) -> None:
    """Set each job's Celery state to `PROGRESS` with `{current, total, message}`.

    A result backend that is away, or full, is passed over: PostgreSQL keeps the progress.
    """
    backend: Any = app.backend
    for job_id, progress in news.items():
        try:
            backend.store_result(str(job_id), progress, "PROGRESS")
        except (*backend.connection_errors, *backend.channel_errors) as error:
            log.debug("Progress of job %s was not shown in Celery: %s", job_id, error)
            return
