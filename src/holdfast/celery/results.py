"""What Celery's result backend is told of jobs, for whoever asks `AsyncResult`: many at once, by one thread.

PostgreSQL has it all; a backend that is away, or full, is passed over.
"""

import atexit
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.backends.redis import RedisBackend

log = logging.getLogger(__name__)

TELL_SECONDS = 0.1


@dataclass(frozen=True)
class CeleryState:
    """A state of Celery's, with the result or exception that belongs to it."""

    state: str
    result: Any = None


class ResultWriter:
    """Tells the newest state of each job. One that is over before its start was told is told once."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._news: dict[str, CeleryState] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def tell(self, job_id: str, state: CeleryState) -> None:
        """Tell this soon; returns at once."""
        with self._changed:
            self._news[job_id] = state
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="holdfast-results", daemon=True)
                self._thread.start()
                atexit.register(self.flush)
            self._changed.notify()

    def forget(self, job_id: str) -> None:
        """Leave untold what was not told yet: another attempt may be telling its own by then."""
        with self._changed:
            self._news.pop(job_id, None)

    def flush(self) -> None:
        """Tell what was not told yet, at the end of the process."""
        with self._changed:
            news, self._news = self._news, {}
        if news:
            self._write(news)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._news)
            time.sleep(TELL_SECONDS)
            self.flush()

    def _write(self, news: Mapping[str, CeleryState]) -> None:
        backend: Any = self._app.backend
        try:
            if type(backend) is RedisBackend:
                _write_to_redis(backend, news)
            else:
                for job_id, told in news.items():
                    backend.store_result(job_id, told.result, told.state)
        except (*backend.connection_errors, *backend.channel_errors) as error:
            log.debug("Celery was not told of %d jobs: %s", len(news), error)


def _write_to_redis(backend: Any, news: Mapping[str, CeleryState]) -> None:  # noqa: ANN401 - Celery's backend
    """As the backend's `store_result` does for each, in one round trip."""
    expires, metas = backend.expires, _metas(backend, news)
    with backend.client.pipeline(transaction=False) as pipeline:
        for job_id, meta in metas.items():
            key = backend.get_key_for_task(job_id)
            pipeline.set(key, meta, ex=expires)
            pipeline.publish(key, meta)
        pipeline.execute()


def _metas(backend: Any, news: Mapping[str, CeleryState]) -> dict[str, str]:  # noqa: ANN401 - Celery's backend
    """What the backend keeps of each job. All of them have just ended, and share the time of that."""
    states = {told.state for told in news.values()}
    shared = {state: backend._get_result_meta(None, state, None, None) for state in states}  # noqa: SLF001
    metas = {}
    for job_id, told in news.items():
        result = backend.encode_result(told.result, told.state)
        metas[job_id] = backend.encode({**shared[told.state], "result": result, "task_id": job_id})
    return metas
