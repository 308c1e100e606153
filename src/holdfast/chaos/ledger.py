"""What a run writes down in PostgreSQL, in the schema `chaos`, and how it is read.

Nothing here is unique: a double has to show. A trigger notes every change of a job's row with the statuses
before and after; rows of one job are locked while they change, so that the notes stand in the true order.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from holdfast.chaos.history import AttemptRecord, Effect, History, JobRecord, Write
from holdfast.states import AttemptOutcome, JobStatus

PATIENCE = timedelta(seconds=60)

_SCHEMA = r"""
CREATE SCHEMA chaos;
CREATE TABLE chaos.submissions (job_id uuid, serial int, expected text);
CREATE TABLE chaos.effects (
    job_id uuid, name text, attempt int, held_by int, at timestamptz DEFAULT clock_timestamp()
);
CREATE TABLE chaos.writes (
    position bigint GENERATED ALWAYS AS IDENTITY, job_id uuid, before text, after text, attempt int,
    reported_by int, at timestamptz DEFAULT clock_timestamp()
);
CREATE FUNCTION chaos.note_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO chaos.writes (job_id, after, attempt) VALUES (NEW.id, NEW.status, NEW.attempt);
    ELSIF (OLD.status, OLD.attempt, OLD.progress, OLD.result, OLD.error)
        IS DISTINCT FROM (NEW.status, NEW.attempt, NEW.progress, NEW.result, NEW.error) THEN
        INSERT INTO chaos.writes (job_id, before, after, attempt, reported_by) VALUES (
            NEW.id, OLD.status, NEW.status, NEW.attempt,
            CASE WHEN NEW.progress IS DISTINCT FROM OLD.progress
                THEN substring(NEW.progress ->> 'message' FROM '^chaos, attempt (\d+)')::int END);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_write AFTER INSERT OR UPDATE ON holdfast.jobs
    FOR EACH ROW EXECUTE FUNCTION chaos.note_write();
"""
# A schedule's job has its tick as its key as well; metadata alone may be anybody's.
_JOBS = """
SELECT id, status, attempt, failures, crashes, created_at, completed_at, task, error ->> 'code', args,
    parent_id, batch_id,
    CASE WHEN idempotency_key = 'tick:' || (metadata ->> 'tick') THEN (metadata ->> 'tick')::timestamptz END
FROM holdfast.jobs ORDER BY id
"""
_ATTEMPTS = """
SELECT job_id, attempt, started_at, ended_at, outcome, worker, process
FROM holdfast.attempts ORDER BY job_id, attempt
"""


class Ledger:
    """The database of a run, asked past all proxies. A connection that was lost is made anew.

    Args:
        url: the database, as libpq reads it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: psycopg.Connection[TupleRow] | None = None

    def prepare(self) -> None:
        """Make the schema; the tables of Holdfast are there already."""
        self.ask(_SCHEMA)

    def ask(self, query: str, values: Sequence[object] = (), *, patience: timedelta = PATIENCE) -> list[Any]:
        """Run a statement in autocommit and return its rows; waits out a database that is away.

        Raises:
            psycopg.OperationalError: it stayed away.
        """
        deadline = time.monotonic() + patience.total_seconds()
        while True:
            try:
                cursor = self._connected().execute(query.encode(), values or None)
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def count(self, query: str, values: Sequence[object] = ()) -> int:
        """The one number that a query gives."""
        return int(self.ask(query, values)[0][0])

    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return self.count("SELECT count(*) FROM holdfast.jobs WHERE completed_at IS NULL")

    def close(self) -> None:
        """Close the connection; the next question makes another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _connected(self) -> psycopg.Connection[TupleRow]:
        if self._connection is None:
            self._connection = psycopg.connect(
                self.url, autocommit=True, connect_timeout=5, application_name="holdfast-chaos"
            )
        return self._connection


def read_history(ledger: Ledger) -> History:
    """Everything that was written down, for `history.check`."""
    writes: dict[UUID, list[Write]] = {}
    noted = "SELECT job_id, before, after, attempt, reported_by FROM chaos.writes ORDER BY position"
    for job_id, before, after, attempt, reported_by in ledger.ask(noted):
        status = None if before is None else JobStatus(before)
        writes.setdefault(job_id, []).append(Write(job_id, status, JobStatus(after), attempt, reported_by))
    effects = ledger.ask("SELECT job_id, name, attempt, held_by FROM chaos.effects ORDER BY at")
    batches = dict(ledger.ask("SELECT id, total FROM holdfast.batches"))
    return History(read_jobs(ledger), writes, [Effect(*row) for row in effects], batches)


def read_jobs(ledger: Ledger) -> Mapping[UUID, JobRecord]:
    """All jobs with their attempts."""
    attempts: dict[UUID, list[AttemptRecord]] = {}
    for job_id, number, started_at, ended_at, outcome, worker, process in ledger.ask(_ATTEMPTS):
        ended_as = None if outcome is None else AttemptOutcome(outcome)
        attempts.setdefault(job_id, []).append(
            AttemptRecord(number, started_at, ended_at, ended_as, worker, process)
        )
    return {row[0]: _job(row, attempts.get(row[0], ())) for row in ledger.ask(_JOBS)}


def _job(row: Sequence[Any], attempts: Sequence[AttemptRecord]) -> JobRecord:
    job_id, status, attempt, failures, crashes, created_at, completed_at, task, code, *belongs = row
    args, parent_id, batch_id, tick = belongs
    return JobRecord(
        job_id,
        JobStatus(status),
        attempt,
        failures,
        crashes,
        created_at,
        completed_at,
        attempts,
        task=task,
        error_code=code,
        args=args,
        parent_id=parent_id,
        batch_id=batch_id,
        tick=tick,
    )
