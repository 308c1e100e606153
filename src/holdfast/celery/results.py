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

from celery import Celery, signals, states
from celery.app.task import Context
from celery.backends.redis import RedisBackend

from holdfast.jobs.process import PerProcess

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
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def backend(self) -> Any:  # noqa: ANN401 - whichever Celery has
        """Celery's own; each thread has another."""
        return self._app.backend

    def tell(self, job_id: str, state: CeleryState) -> None:
        """Tell this soon; returns at once."""
        with self._changed:
            self._news[job_id] = state
            if self._thread is None or not self._thread.is_alive():
                self._begin()
            self._changed.notify()

    def forget(self, job_id: str) -> None:
        """Leave untold what was not told yet: another attempt may be telling its own by then."""
        with self._changed:
            self._news.pop(job_id, None)

    def settle(self, job_id: str) -> None:
        """As `forget`; and wait for what is just being told: it must not come after what is told next."""
        with self._writing:
            self.forget(job_id)

    def flush(self, **_: object) -> None:
        """Tell what was not told yet, at the end of the process."""
        with self._writing:
            with self._changed:
                news, self._news = self._news, {}
            if news:
                self._write(news)

    def _begin(self) -> None:
        if self._thread is None:
            atexit.register(self.flush)
            # A process of a prefork pool ends without `atexit`.
            signals.worker_process_shutdown.connect(self.flush)
        self._thread = threading.Thread(target=self._run, name="holdfast-results", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._news)
            time.sleep(TELL_SECONDS)
            self.flush()

    def _write(self, news: Mapping[str, CeleryState]) -> None:
        backend = self.backend
        try:
            if type(backend) is RedisBackend:
                _write_to_redis(backend, news)
            else:
                for job_id, told in news.items():
                    backend.store_result(job_id, told.result, told.state)
        except (*backend.connection_errors, *backend.channel_errors) as error:
            log.debug("Celery was not told of %d jobs: %s", len(news), error)


class JobBackend:
    """Celery's result backend as its tracer has it, but that a job's completion is told by a `ResultWriter`.

    The rest Celery's backend is told at once: it is rare, or there is more to it, as in Celery's workflows.
    """

    def __init__(self, writer: PerProcess[ResultWriter]) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the backend has
        return getattr(self._writer.get().backend, name)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,  # noqa: ANN401 - Celery's own signature
        request: Context,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Tell that a job has completed."""
        writer = self._writer.get()
        if store_result and not writer.backend.app.conf.result_extended and _is_alone(request):
            writer.tell(task_id, CeleryState(state, result))
        else:
            writer.settle(task_id)
            writer.backend.mark_as_done(task_id, result, request, store_result, state)


def _is_alone(request: Context) -> bool:
    """Whether there is nothing more to tell of it than its state and result."""
    return not (request.chord or request.group or request.parent_id or request.children)


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
