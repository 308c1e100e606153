"""Databases with a history: so many finished jobs with their attempts, as a month of use leaves them."""

from dataclasses import dataclass
from uuid import UUID

import psycopg
from sqlalchemy import make_url

from benchmarks.bed import Bed
from holdfast.jobs import keys
from holdfast.jobs.database import Database
from holdfast.migrations import upgrade

OWNERS = 20
# With its attempts and what both take in indexes; measured, and a fifth more for WAL and sorting.
BYTES_A_JOB = 1_200
PIECE = 500_000

# As `new_id` makes them: the time, then chance; a month's jobs, evenly, the last of them a minute ago.
_IDS = """
    CREATE FUNCTION made_at(n bigint, jobs bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT now() - interval '1 minute' - interval '29 days' * (1 - n / jobs::float8)
    $$;
    CREATE FUNCTION made_id(at timestamptz, n bigint) RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
            || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid
    $$
"""
# Of a hundred jobs three have failed and two were cancelled; every twentieth needed a second attempt.
_FINISHED = """
    WITH made AS (
    INSERT INTO holdfast.jobs (id, owner_id, task, queue, priority, status, args, result, error, metadata,
        attempt, failures, max_attempts, run_at, sent_at, created_at, started_at, completed_at)
    SELECT made_id(at, n), owners.ids[1 + abs(hashint8(n)::bigint) %% {owners}],
        (ARRAY['ingest_document', 'summarize', 'embed_batch', 'answer', 'notify'])[1 + n %% 5],
        CASE WHEN n %% 10 = 0 THEN 'slow' ELSE 'default' END, 5,
        CASE WHEN n %% 100 < 3 THEN 'failed' WHEN n %% 100 < 5 THEN 'cancelled' ELSE 'completed' END,
        jsonb_build_object('document_id', md5(n::text), 'generation', 1, 'size', n %% 900000),
        CASE WHEN n %% 100 >= 5 THEN jsonb_build_object('document_id', md5(n::text), 'pages', n %% 80,
            'chunks', n %% 400, 'usage', jsonb_build_object('input_tokens', n %% 9000)) END,
        CASE WHEN n %% 100 < 3 THEN jsonb_build_object('code', 'provider_unavailable', 'type',
            'ProviderError', 'message', 'The provider answered 503.', 'retryable', true) END,
        jsonb_build_object('customer', n %% 5000),
        1 + (n %% 20 = 0)::int, (n %% 20 = 0)::int, 4, at, at, at, at + interval '0.1 s', at + interval '9 s'
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n,
        LATERAL (SELECT made_at(n, %(jobs)s)) AS made (at),
        (SELECT array_agg(id) AS ids FROM holdfast.api_keys) AS owners
    RETURNING *)
    INSERT INTO holdfast.attempts (job_id, attempt, worker, process, started_at, ended_at, outcome)
    SELECT id, number, 'worker-7f9c:4021:c0ffee', 4021, started_at, completed_at,
        CASE WHEN number < attempt THEN 'failed' ELSE status END
    FROM made, generate_series(1, attempt) AS number
"""
_QUEUED = """
    INSERT INTO holdfast.jobs (id, owner_id, task, queue, priority, args, max_attempts)
    SELECT made_id(now(), n), (SELECT id FROM holdfast.api_keys LIMIT 1), 'summarize', 'default', 5,
        '{"document_id": "none"}', 4
    FROM generate_series(1, %s) AS n
"""


@dataclass(frozen=True)
class Grown:
    """A database with a history, and one of its owners."""

    jobs: int
    database: Database
    owner_id: UUID

    def count_bytes(self, connection: psycopg.Connection) -> int:
        query = "SELECT pg_database_size(%s)"
        return int(connection.execute(query, [make_url(self.database.url).database]).fetchone()[0])


def grow(own: Bed, jobs: int) -> Grown:
    """Make a database of its own with so many finished jobs, analyzed."""
    name = f"grown_{jobs}"
    with own.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = make_url(own.holdfast.database.url).set(database=name).render_as_string(hide_password=False)
    database = Database(lambda: url)
    upgrade(database.engine)
    with database.transaction() as session:
        owner, *_ = [keys.create_key(session, f"owner {number}")[0].id for number in range(OWNERS)]
    with _connected(database) as connection:
        # The rows refer to each other as they should: checking each of them takes half of the time.
        connection.execute("SET session_replication_role = replica")
        connection.execute(_IDS)
        for first in range(1, jobs + 1, PIECE):
            given = {"first": first, "last": min(jobs, first + PIECE - 1), "jobs": jobs}
            connection.execute(_FINISHED.format(owners=OWNERS), given)
        connection.execute("VACUUM (ANALYZE) holdfast.jobs, holdfast.attempts")
    return Grown(jobs, database, owner)


def add_queued(grown: Grown, count: int) -> None:
    """Add as many jobs that are due and wait for the relay."""
    with _connected(grown.database) as connection:
        connection.execute(_QUEUED, [count])
        connection.execute("VACUUM (ANALYZE) holdfast.jobs")


def _connected(database: Database) -> psycopg.Connection:
    return psycopg.connect(database.url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True)
