"""A month with a busy last day in the database: jobs that ended, failed alike, wait and run, and a worker."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text, update

from factories import make_owner, queue_job, start_job
from holdfast.jobs import counting, queues, store, workers
from holdfast.jobs.models import CountedUntil, Job
from holdfast.jobs.workers import WorkerFacts

ENDED = text("""
    WITH made AS (
        SELECT n, now() - (n / CAST(:jobs AS float) + 0.02 * (1 + sin(37 * n / CAST(:jobs AS float))))
                * (ARRAY[interval '28 days', interval '23 hours', interval '58 minutes'])[1 + n % 3] AS ended,
            interval '1 s' * (0.2 + 3 * abs(sin(n)) + CASE WHEN n % 50 = 0 THEN 20 ELSE 0 END) AS ran,
            interval '1 s' * (0.02 + 0.4 * abs(cos(n)))
                * (1 + 3 * power(sin(19 * n / CAST(:jobs AS float)), 4)) AS waited
        FROM generate_series(1, :jobs) AS n
    ), jobs AS (
    INSERT INTO holdfast.jobs (id, owner_id, task, queue, priority, status, args, result, error, max_attempts,
        attempt, failures, run_at, sent_at, created_at, started_at, completed_at)
    SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM ended) * 1000 AS bigint)), 12, '0') || '7'
            || substr(md5(CAST(n AS text)), 1, 3) || '8' || substr(md5(CAST(n AS text)), 4, 15) AS uuid),
        :owner, (ARRAY['ingest_document', 'summarize', 'embed_batch', 'answer', 'notify'])[1 + n % 5],
        CASE WHEN n % 10 = 0 THEN 'slow' ELSE 'default' END, 5,
        CASE WHEN n % 31 = 0 THEN 'failed' WHEN n % 91 = 0 THEN 'cancelled' ELSE 'completed' END,
        '{"style": "short"}', CASE WHEN n % 31 <> 0 AND n % 91 <> 0 THEN CAST('{"words": 120}' AS jsonb) END,
        CAST(CASE WHEN n % 31 = 0 THEN CASE n % 2
            WHEN 0 THEN '{"code": "provider_unavailable", "message": "The provider answered 503."}'
            ELSE '{"code": "task_error", "message": "KeyError: ''title''"}' END END AS jsonb),
        4, 1, 0, ended - ran - waited, ended - ran - waited, ended - ran - waited, ended - ran, ended
    FROM made RETURNING *)
    INSERT INTO holdfast.attempts (job_id, attempt, worker, process, started_at, ended_at, outcome)
    SELECT id, 1, 'worker-1:7:9c2f01ab', 7, started_at, completed_at, status FROM jobs
""")


@dataclass(frozen=True)
class Day:
    """Jobs to look at."""

    failed: UUID
    running: UUID
    queued: UUID


def fill_day(session, owner, *, jobs=10_000):
    """Fill the database; returns some of its jobs."""
    session.execute(ENDED, {"jobs": jobs, "owner": owner.id})
    session.commit()
    _count(session)
    web = make_owner(session, "web")[0]
    queued = [queue_job(session, owner_id=web.id, task="summarize", queue="slow") for _ in range(12)][-1]
    queue_job(session, owner_id=web.id, task="notify", delay=timedelta(hours=2))
    queues.pause(session, "nightly")
    facts = WorkerFacts("worker-1", 7, "asyncio", 100, ["default", "slow"], 2, True)
    workers.say_alive(session, "worker-1:7:9c2f01ab", facts)
    running = start_job(session, owner_id=web.id, task="summarize", args={"text": "Kelp grows fast."})
    progress = {"current": 37, "total": 120, "message": "pages read"}
    store.save_progress(session, {(running.id, running.attempt): progress})
    session.commit()
    return Day(_failed(session, web), running.id, queued)


def _count(session):
    while counting.count_piece(session) or session.get(CountedUntil, 1) is None:
        session.commit()
    while counting.count_piece(session):
        session.commit()
    session.commit()


def _failed(session, owner):
    """A job that was tried twice, with steps, a wait between and a stack."""
    error = {"code": "provider_unavailable", "message": "The provider answered 503.", "stage": None}
    claim = start_job(session, owner_id=owner.id, task="summarize", args={"document": 7, "style": "short"})
    store.retry_later(session, claim, {**error, "attempt": 1}, timedelta(), traceback=TRACEBACK)
    session.commit()
    second = store.claim(
        session, claim.id, worker="worker-2:9:77ab12cd", process=9, lease=timedelta(minutes=1)
    )
    store.fail(session, second, {**error, "attempt": 2}, None, traceback=TRACEBACK)
    session.commit()
    times = {"created_at": 180, "run_at": 90, "started_at": 176, "completed_at": 60}
    ago = {name: text(f"now() - interval '{seconds} s'") for name, seconds in times.items()}
    session.execute(update(Job).where(Job.id == claim.id).values(**ago))
    session.execute(ATTEMPTS, {"job": claim.id})
    session.execute(STEPS, {"job": claim.id})
    session.commit()
    return claim.id


TRACEBACK = """Traceback (most recent call last):
  File "/app/summaries.py", line 41, in summarize
    notes = [await job.step("note", note_on, part, key=i) for i, part in enumerate(parts)]
  File "/app/provider.py", line 17, in complete
    raise ProviderError("The provider answered 503.")
holdfast.errors.ProviderError: The provider answered 503.
"""
ATTEMPTS = text("""
    UPDATE holdfast.attempts SET
        started_at = now() - CASE attempt WHEN 1 THEN interval '176 s' ELSE interval '88 s' END,
        ended_at = now() - CASE attempt WHEN 1 THEN interval '120 s' ELSE interval '60 s' END
    WHERE job_id = :job
""")
STEPS = text("""
    INSERT INTO holdfast.steps (job_id, name, key, fingerprint, result, attempt, started_at, ended_at)
    SELECT :job, name, key, '', '1', attempt, now() - starts * interval '1 s', now() - ends * interval '1 s'
    FROM (VALUES ('read', '', 1, 176, 160), ('note', '1', 1, 160, 141), ('note', '2', 1, 141, 122),
        ('note', '3', 2, 87, 70)) AS steps (name, key, attempt, starts, ends)
""")
