"""Progress and stop signs of all attempts of a process, carried by one thread.

Grouped: however many jobs run here and however often they call `progress`, watchers are told five times a
second, and PostgreSQL gets one write and one read a second.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from holdfast.jobs import queries, store
from holdfast.jobs.database import Database
from holdfast.jobs.patience import reason
from holdfast.jobs.running import RunningAttempt

log = logging.getLogger(__name__)

TELL_SECONDS = 0.2
SAVE_SECONDS = 1.0

Watcher = Callable[[Mapping[UUID, dict[str, Any]]], None]


class Reporter:
    """Tells watchers and PostgreSQL how far jobs are, and attempts that they should stop.

    Args:
        database: where progress is saved.
        watcher: told the newest progress by job id; deals with its own failures.
    """

    def __init__(self, database: Database, watcher: Watcher) -> None:
        self._database = database
        self._watcher = watcher
        self._open: set[RunningAttempt] = set()
        self._unsaved: dict[tuple[UUID, int], dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._reporting = threading.Lock()
        self._thread = self._started_thread()

    def open(self, attempt: RunningAttempt) -> None:
        """Begin to report for an attempt."""
        with self._changed:
            self._open.add(attempt)
            # What ends the thread is a bug, told by its traceback; the jobs after it are not to suffer.
            if not self._thread.is_alive():
                self._thread = self._started_thread()
            self._changed.notify()

    def close(self, attempt: RunningAttempt) -> None:
        """Stop reporting for an attempt; afterwards nothing is written or told of it any more."""
        with self._reporting:
            with self._changed:
                self._open.discard(attempt)
            self._unsaved.pop(attempt.key, None)

    def _started_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="holdfast-reporter", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        rounds = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._open)
            time.sleep(TELL_SECONDS)
            rounds += 1
            with self._reporting:
                self._tell()
                if rounds * TELL_SECONDS >= SAVE_SECONDS:
                    rounds = 0
                    self._save_and_look()

    def _tell(self) -> None:
        news = {}
        for attempt in self._snapshot():
            progress = attempt.take_report()
            if progress is not None:
                news[attempt.claim.id] = self._unsaved[attempt.key] = progress
        if news:
            self._watcher(news)

    def _save_and_look(self) -> None:
        attempts = self._snapshot()
        try:
            with self._database.transaction() as session:
                if self._unsaved:
                    store.save_progress(session, self._unsaved)
                held = queries.held_attempts(session, [attempt.key for attempt in attempts])
        except SQLAlchemyError as error:
            log.warning("Progress was not saved, trying again in %.0f s: %s", SAVE_SECONDS, reason(error))
            return
        self._unsaved.clear()
        for attempt in attempts:
            asked_to_stop = held.get(attempt.key)
            if asked_to_stop is not False:
                attempt.signal_stop(stale=asked_to_stop is None)

    def _snapshot(self) -> list[RunningAttempt]:
        with self._changed:
            return list(self._open)
