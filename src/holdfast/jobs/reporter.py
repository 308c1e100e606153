"""Progress and stop signs of all attempts of a process, carried by one thread.

Grouped: however many jobs run here and however often they call `progress`, watchers are told five times a
second, and PostgreSQL gets one write and one read or two a second.

The reads compare what PostgreSQL says this process holds with what it has in hand. What it has and does not
hold any more is told to stop. What it holds and does not have is given back: a claim whose answer was lost on
the way, say, which nobody would run and whose lease would be renewed for ever.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from holdfast.jobs import events, queries, store
from holdfast.jobs.database import Database
from holdfast.jobs.ending.endings import Ending
from holdfast.jobs.events import UNWATCHED, EventSink
from holdfast.jobs.patience import reason
from holdfast.jobs.running import RunningAttempt
from holdfast.jobs.workers import Worker

log = logging.getLogger(__name__)

TELL_SECONDS = 0.2
SAVE_SECONDS = 1.0
# Every so often all that this process holds is read, though its number is as expected.
FULL_LOOK = 5
DOUBT_SECONDS = 60.0

Watcher = Callable[[Mapping[UUID, dict[str, Any]]], None]


class Reporter:
    """Tells watchers and PostgreSQL how far jobs are, and attempts that they should stop.

    Args:
        database: where progress is saved.
        watcher: told the newest progress by job id; deals with its own failures.
        claims: by their ids, the jobs that were claimed and wait to be begun: they are in hand as well.
        sink: told of each attempt that begins, and of its progress.
    """

    def __init__(
        self,
        database: Database,
        watcher: Watcher,
        claims: Container[str] = (),
        sink: EventSink = UNWATCHED,
    ) -> None:
        self._database = database
        self._watcher = watcher
        self._claims = claims
        self._sink = sink
        self._worker: Worker | None = None
        self._in_hand: Counter[UUID] = Counter()
        self._in_doubt_until = 0.0
        self._missing: set[tuple[UUID, int]] = set()
        self._looks = 0
        self._open: set[RunningAttempt] = set()
        self._unsaved: dict[tuple[UUID, int], dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._reporting = threading.Lock()
        self._thread = self._started_thread()

    @contextmanager
    def in_hand(self, job_id: UUID, worker: Worker) -> Iterator[None]:
        """Deal with a delivery: from before its claim until after its outcome is written.

        If that fails, what PostgreSQL has noted of it is looked up and put right.
        """
        with self._changed:
            self._worker = worker
            self._in_hand[job_id] += 1
        try:
            yield
        except BaseException:
            # What was sent and not answered may still be done: a server that is frozen goes on some time.
            self._in_doubt_until = time.monotonic() + DOUBT_SECONDS
            raise
        finally:
            with self._changed:
                self._in_hand[job_id] -= 1
                if not self._in_hand[job_id]:
                    del self._in_hand[job_id]
                if self._is_in_doubt():
                    self._ensure_thread()

    def doubt(self, worker: Worker) -> None:
        """Look for some time whether this process holds what it does not know of."""
        with self._changed:
            self._worker = worker
            self._in_doubt_until = time.monotonic() + DOUBT_SECONDS
            self._ensure_thread()

    def open(self, attempt: RunningAttempt) -> None:
        """Begin to report for an attempt."""
        attempt.sink = self._sink
        self._sink.tell(attempt.claim, events.STARTED)
        with self._changed:
            self._open.add(attempt)
            self._ensure_thread()

    def close(self, attempt: RunningAttempt) -> None:
        """Stop reporting for an attempt; afterwards nothing is written or told of it any more."""
        if attempt.progress is None:
            # There was nothing to tell, and so nothing to wait for: the thread may be with PostgreSQL now.
            with self._changed:
                self._open.discard(attempt)
        else:
            with self._reporting:
                with self._changed:
                    self._open.discard(attempt)
                self._unsaved.pop(attempt.key, None)
        if attempt.has_emitted:
            # Watchers are to see all of it before they see the end.
            self._sink.flush()

    def _ensure_thread(self) -> None:
        # What ends the thread is a bug, told by its traceback; the jobs after it are not to suffer.
        if not self._thread.is_alive():
            self._thread = self._started_thread()
        self._changed.notify()

    def _started_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="holdfast-reporter", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        rounds = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._open or self._is_in_doubt())
            time.sleep(TELL_SECONDS)
            rounds += 1
            with self._reporting:
                self._tell()
                if rounds * TELL_SECONDS >= SAVE_SECONDS:
                    rounds = 0
                    self._save_and_look()

    def _tell(self) -> None:
        news = {}
        with self._changed:
            reporting = [attempt for attempt in self._open if attempt.has_report]
        for attempt in reporting:
            progress = attempt.take_report()
            if progress is not None:
                news[attempt.claim.id] = self._unsaved[attempt.key] = progress
                attempt.emit(events.PROGRESS, progress, events.encode_data(progress))
        if news:
            self._watcher(news)

    def _save_and_look(self) -> None:
        attempts = self._snapshot()
        try:
            with self._database.transaction() as session:
                if self._unsaved:
                    store.save_progress(session, self._unsaved)
                cancelled, held = self._look(session, len(attempts))
            if held is not None:
                self._give_back_missing(held)
        except SQLAlchemyError as error:
            log.warning("Progress was not saved, trying again in %.0f s: %s", SAVE_SECONDS, reason(error))
            if self._is_in_doubt():
                self._in_doubt_until = time.monotonic() + DOUBT_SECONDS
            return
        self._unsaved.clear()
        for attempt in attempts:
            if held is not None and attempt.key not in held:
                attempt.tell(Ending.STALE)
            elif attempt.key in cancelled:
                attempt.tell(Ending.CANCELLED)

    def _look(
        self, session: Session, expected: int
    ) -> tuple[Collection[tuple[UUID, int]], Collection[tuple[UUID, int]] | None]:
        """Those held that were asked to stop; and all that are held, unless so many are expected.

        Of a thousand jobs that wait, only the few that concern somebody are read so. Now and then all are, as
        one too many and one too few make the expected number as well.
        """
        assert self._worker is not None  # noqa: S101 - nothing is open before a delivery is in hand
        worker, process = self._worker.name, os.getpid()
        self._looks += 1
        if self._looks % FULL_LOOK and not self._missing and not self._is_in_doubt():
            count, cancelled = queries.count_held(session, worker=worker, process=process)
            if count == expected:
                return cancelled, None
        held = queries.held_attempts(session, worker=worker, process=process)
        return [key for key, asked_to_stop in held.items() if asked_to_stop], held

    def _is_in_doubt(self) -> bool:
        return time.monotonic() < self._in_doubt_until

    def _is_in_hand(self, job_id: UUID) -> bool:
        with self._changed:
            return job_id in self._in_hand or str(job_id) in self._claims

    def _give_back_missing(self, held: Collection[tuple[UUID, int]]) -> None:
        """Give back what is held and was in nobody's hand in two looks running.

        Looked up after the read: what was claimed by its id is in hand since before its claim. What was
        claimed together with others comes into hand a moment later.
        """
        missing = {key for key in held if not self._is_in_hand(key[0])}
        confirmed, self._missing = self._missing & missing, missing - self._missing
        for job_id, number in confirmed:
            with self._database.transaction() as session:
                if store.hand_back(session, job_id, number):
                    log.warning("Gave back job %s, which this process holds and does not run", job_id)

    def _snapshot(self) -> list[RunningAttempt]:
        with self._changed:
            return list(self._open)
