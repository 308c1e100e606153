"""The end of a worker within its grace, whatever its jobs do.

Celery's warm shutdown waits for the pool as long as it takes, and Python for every thread. So a thread beside
it follows a timetable: nothing new is started, who still runs is told in time, what has not left is handed
back, and the process ends. A worker whose jobs are done earlier ends earlier, by Celery's own way.
"""

import atexit
import contextlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any
from uuid import UUID

from celery.worker import state
from sqlalchemy.exc import SQLAlchemyError

from holdfast.celery.job_task import JobRequest
from holdfast.jobs import leases, workers
from holdfast.jobs.database import Database
from holdfast.jobs.delivery import sending
from holdfast.jobs.ending.stopping import Stage, StopSign, Timetable
from holdfast.jobs.patience import reason
from holdfast.jobs.process import is_running

log = logging.getLogger(__name__)

DEATH_SECONDS = 0.5


class Shutdown:
    """Follows the timetable of a worker's shutdown, once there is a signal to end.

    Args:
        worker: Celery's.
        name: under which the worker holds its leases.
        database: with connections that no user code can hold.
        sign: what tells the worker's processes.
        timetable: when what happens.
        leave: says that the worker ends, and stops what it runs besides.
    """

    def __init__(
        self,
        worker: Any,  # noqa: ANN401 - Celery's worker
        name: str,
        database: Database,
        sign: StopSign,
        timetable: Timetable,
        leave: Callable[[], object],
    ) -> None:
        self._worker = worker
        self._name = name
        self._database = database
        self._sign = sign
        self._timetable = timetable
        self._leave = leave
        # Signal handlers may interrupt each other anywhere: nothing else may be called from them.
        self._signals: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._began = 0.0
        self._python_ends = threading.Event()

    def start(self) -> None:
        """Begin to wait for a signal; in the worker's main thread."""
        threading.Thread(target=self._run, name="holdfast-shutdown", daemon=True).start()
        self._hurry_on(signal.SIGQUIT)

    def begin(self, **_: object) -> None:
        """There was a signal to end; a second one means: at once. Called by signal handlers."""
        # Celery would cancel what runs, and wait for it again.
        self._hurry_on(signal.SIGINT)
        self._signals.put(False)

    def _hurry(self, _signal: int, _frame: FrameType | None) -> None:
        self._signals.put(True)
        self._signals.put(True)

    def _hurry_on(self, number: signal.Signals) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, self._hurry)

    def _run(self) -> None:
        self._signals.get()
        self._began = time.monotonic()
        # The last that is registered is the first that is called.
        atexit.register(self._python_ends.set)
        self._sign.show(Stage.CLOSED)
        log.info("Shutting down: running jobs have %.0f s", self._timetable.grace.total_seconds())
        threading.Thread(target=self._close, name="holdfast-closing", daemon=True).start()
        if not self._is_hurried(self._timetable.tells_after):
            self._sign.show(Stage.LEAVING)
            self._is_hurried(self._timetable.ends_after)
        self._end()

    def _is_hurried(self, seconds: float) -> bool:
        """Wait until so long after the signal; `True`: there was another one."""
        try:
            self._signals.get(timeout=max(0.0, self._began + seconds - time.monotonic()))
        except queue.Empty:
            return False
        return True

    def _close(self) -> None:
        """Let other workers have what this one was given and has not started."""
        try:
            with self._database.transaction() as session:
                workers.say_stopping(session, self._name)
                sending.mark_unsent(session, _unstarted())
        except SQLAlchemyError as error:
            log.warning("Others could not be told of the shutdown: %s", reason(error))

    def _end(self) -> None:
        left = self._timetable.grace.total_seconds() - self._timetable.ends_after
        if self._python_ends.is_set():
            # It ends by itself, and is about to stop what it has started.
            time.sleep(left)
        else:
            _in_time(self._hand_back, left / 2)
            _kill(self._pool_processes())
            _in_time(_at_exit, left / 2)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(0)

    def _hand_back(self) -> None:
        try:
            for _ in range(2):  # what a process sent just before it was killed may have been done since
                with self._database.transaction() as session:
                    job_ids = leases.hand_back_all(session, worker=self._name)
                    # Before the commit: nobody can take these jobs for those of a process that was lost.
                    _kill(self._pool_processes())
                if job_ids:
                    log.warning("Handed back %d jobs that had not ended: %s", len(job_ids), job_ids)
        except SQLAlchemyError as error:
            log.warning("Jobs could not be handed back; others will take them: %s", reason(error))
        self._leave()

    def _pool_processes(self) -> list[int]:
        try:
            pids: list[int] = self._worker.pool.info.get("processes", [])
        except AttributeError:  # the pool has stopped
            return []
        return [pid for pid in pids if pid != os.getpid()]


def _unstarted() -> list[UUID]:
    requests = [request for request in list(state.requests.values()) if isinstance(request, JobRequest)]
    return [UUID(request.id) for request in requests if request.time_start is None]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + DEATH_SECONDS
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _at_exit() -> None:
    atexit._run_exitfuncs()  # noqa: SLF001 - what Python would call, were it not for threads that do not end


def _in_time(work: Callable[[], object], seconds: float) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
