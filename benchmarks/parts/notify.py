"""What it costs that the database looks whom to notify: 10,000 jobs, completed in groups of 100.

Jobs without an owner, jobs of an API key that has no endpoint, and jobs that say whom to notify: with the end
of each of these a notification and a job that brings it are written. The first two also without the trigger.
All in turns, each time on as many new jobs; the round before the first does not count. Counted is the CPU of
PostgreSQL's process, which other programs disturb less than the clock.
"""

from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from benchmarks.bed import Bed, bed
from benchmarks.figures import Figures, Size, ranged
from holdfast.jobs import grouped
from holdfast.jobs.grouped import Completion
from holdfast.jobs.ids import new_ids
from holdfast.jobs.store import Claim

COUNT = {"full": 10_000, "quick": 1_000}
ROUNDS = {"full": 7, "quick": 2}
GROUP = 100

RUNNING = text("""
    WITH made AS (
        INSERT INTO holdfast.jobs (id, owner_id, task, queue, priority, status, args, attempt, max_attempts,
            worker, process, lease_expires_at, started_at, sent_at, notify)
        SELECT id, :owner, 'work', 'default', 5, 'processing', '{"text": "some words"}', 1, 4,
            'host:1:abcdef', 1, now() + interval '1 hour', now(), now(), CAST(:notify AS jsonb)
        FROM unnest(CAST(:ids AS uuid[])) AS id
        RETURNING id
    )
    INSERT INTO holdfast.attempts (job_id, attempt, worker, process)
    SELECT id, 1, 'host:1:abcdef', 1 FROM made
""")
NOTIFY = '{"webhook": {"url": "https://example.org/hook"}}'
# Whose jobs, whom they notify, and whether the trigger is there.
KINDS = {
    "nobody's, without the trigger": (False, None, False),
    "nobody's": (False, None, True),
    "a key's, without the trigger": (True, None, False),
    "a key's": (True, None, True),
    "told of": (True, NOTIFY, True),
}


def main(size: Size) -> Figures:
    figures = Figures()
    with bed() as own:
        rounds = [_round(own, COUNT[size]) for _ in range(-1, ROUNDS[size])][1:]
    figures.data = {"jobs": COUNT[size], "group": GROUP, "microseconds of CPU": rounds}
    for kind in KINDS:
        figures.show(
            f"microseconds of PostgreSQL a completion, {kind}", ranged([each[kind] for each in rounds], 1)
        )
    for kind in ("nobody's", "a key's"):
        cost = [each[kind] - each[f"{kind}, without the trigger"] for each in rounds]
        figures.show(f"microseconds that the trigger costs, {kind}", ranged(cost, 1))
    return figures


def _round(own: Bed, count: int) -> dict[str, float]:
    return {kind: _microseconds(own, kind, count) for kind in KINDS}


def _microseconds(own: Bed, kind: str, count: int) -> float:
    is_owned, notify, has_trigger = KINDS[kind]
    with own.connect() as connection:
        # Each on tables that are as large.
        connection.execute("TRUNCATE holdfast.notifications, holdfast.jobs CASCADE")
        able = "ENABLE" if has_trigger else "DISABLE"
        connection.execute(f"ALTER TABLE holdfast.jobs {able} TRIGGER jobs_notify")
    ids = new_ids(count)
    with own.holdfast.database.transaction() as session:
        owner = own.owner.id if is_owned else None
        session.execute(RUNNING, {"ids": ids, "owner": owner, "notify": notify})
    with own.connect() as connection:
        connection.execute("VACUUM (ANALYZE) holdfast.jobs, holdfast.attempts")
        connection.execute("CHECKPOINT")
    return _complete(own, ids) / count * 1e6


def _complete(own: Bed, ids: list[UUID]) -> float:
    """The seconds of CPU that PostgreSQL takes to complete these jobs, in the process of their connection."""
    groups = [ids[start : start + GROUP] for start in range(0, len(ids), GROUP)]
    with own.holdfast.database.session() as session:
        pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        began = _cpu_seconds(pid)
        for group in groups:
            claims = [Claim(job_id, 1, "work", {}, 0, 4) for job_id in group]
            done = grouped.complete(session, [Completion(claim, {"words": 2}, None) for claim in claims])
            session.commit()
            if not all(done):
                raise RuntimeError("A job that ran was not completed.")
        return _cpu_seconds(pid) - began


def _cpu_seconds(pid: int) -> float:
    # In nanoseconds, where `stat` has hundredths of a second.
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
