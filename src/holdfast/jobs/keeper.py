"""What a worker does to stay alive in the eyes of others, and to see who is not.

Every beat it says that it lives, renews the leases of its processes, and takes back the jobs of whoever is
gone. A worker is gone when its lease runs out, and at once when PostgreSQL has seen its connection end and it
has not said a word since: a killed process loses its connection with its life. See
docs/decisions/0005-who-is-dead.md.
"""

import logging
import socket
import time
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from holdfast.jobs import leases, workers
from holdfast.jobs.database import Database
from holdfast.jobs.process import exists, is_running
from holdfast.jobs.workers import SilentWorker, Worker, WorkerFacts

log = logging.getLogger(__name__)

BATCH = 1_000
# A beat that comes this many times later than it should has been held up by something.
LATE = 3


class Keeper:
    """Keeps a worker's leases and takes back those of the dead, beat by beat, over a connection of its own.

    Args:
        database: where to; one connection of its pool is held for good.
        worker: whose leases they are.
        facts: what to say of it with each beat.
        on_rescue: called when jobs went back to the queue.
        duty: what else to do with each beat, once whoever lives has had time to say so.
    """

    def __init__(
        self,
        database: Database,
        worker: Worker,
        facts: Callable[[], WorkerFacts],
        on_rescue: Callable[[], object],
        duty: Callable[[Session], object] = lambda _session: None,
    ) -> None:
        self._database = database
        self._worker = worker
        self._facts = facts
        self._on_rescue = on_rescue
        self._duty = duty
        self._connection: Connection | None = None
        self._locked: int | None = None
        self._last_contact: float | None = None
        self._settled_from = 0.0

    def beat(self) -> list[UUID]:
        """Say that the worker lives, renew, rescue; returns the jobs that were taken back.

        Raises:
            SQLAlchemyError: PostgreSQL cannot be reached; the next beat tries anew.
        """
        began = time.monotonic()
        try:
            with Session(self._connected()) as session:
                rescued = self._keep(session)
                self._note_contact(began)
                if time.monotonic() >= self._settled_from:
                    rescued += self._rescue(session)
                    self._duty(session)
        except SQLAlchemyError:
            self.close()
            raise
        if rescued:
            log.warning("Took back %d jobs from workers that are gone: %s", len(rescued), rescued)
            self._on_rescue()
        return rescued

    def leave(self) -> None:
        """Say that the worker ends, in order; what it still holds is taken back by others at once."""
        try:
            with Session(self._connected()) as session, session.begin():
                workers.remove(session, [self._worker.name])
        except SQLAlchemyError:
            log.info("PostgreSQL is away; others will notice that this worker has ended.")
        self.close()

    def close(self) -> None:
        """Give the connection up."""
        connection, self._connection = self._connection, None
        self._locked = None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._database.engine.connect()
        return self._connection

    def _keep(self, session: Session) -> list[UUID]:
        name, lease = self._worker.name, self._worker.lease
        with session.begin():
            worker_id = workers.say_alive(session, name, self._facts())
            at_work = leases.processes_at_work(session, worker=name)
            running = [process for process in at_work if is_running(process)]
            leases.renew(session, running, worker=name, lease=lease)
            dead = set(at_work).difference(running)
            rescued = leases.rescue_from_processes(session, dead, worker=name, limit=BATCH) if dead else []
            # The lock is the connection's, not the transaction's. A connection that was lost may hold it for
            # a while yet.
            if self._locked != worker_id and workers.lock(session, worker_id):
                self._locked = worker_id
        return rescued

    def _note_contact(self, began: float) -> None:
        """While PostgreSQL is away nobody can renew, so that leases run out under living workers: when it is
        back they are given time to say so.
        """  # noqa: D205 - the summary is two lines long
        now, beat = time.monotonic(), self._worker.beat.total_seconds()
        last = began if self._last_contact is None else self._last_contact
        if now - last > LATE * max(beat, 0.5):
            self._settled_from = now + self._worker.settling.total_seconds()
        self._last_contact = now

    def _rescue(self, session: Session) -> list[UUID]:
        with session.begin():
            if not workers.has_settled(session, self._worker.settling):
                return []
            # Of those of this machine the processes tell, so that nobody has to wait for their word.
            silent = workers.silent_workers(session, silence=self._worker.silence, here=socket.gethostname())
            dead = [worker.name for worker in silent if not _is_alive_here(worker)]
            rescued = leases.rescue_expired(session, limit=BATCH)
            if dead:
                log.warning("These workers are gone: %s", ", ".join(dead))
                rescued += leases.rescue_from_workers(session, dead, limit=BATCH)
                workers.remove(session, dead)
        return rescued


def _is_alive_here(worker: SilentWorker) -> bool:
    """Whether it is a process of this machine that lives: one that is cut off, or frozen, keeps its lease."""
    return worker.host == socket.gethostname() and exists(worker.pid)
