"""How fast retention deletes, and what that costs those who claim and complete jobs meanwhile.

Old jobs have an attempt and three steps each; every sixth is the parent of the five after it. One process
deletes, another claims and completes jobs of its own: alone, and while the first one is at work, in turns.
"""

import time
from datetime import timedelta

from sqlalchemy import func, select, text

from benchmarks.bed import Bed, bed
from benchmarks.figures import Figures, Size, ranged
from holdfast.jobs import store
from holdfast.jobs.ids import new_id
from holdfast.jobs.models import Attempt, Job, Step

OLD = {"full": 600_000, "quick": 60_000}
ROUNDS = {"full": 5, "quick": 2}
SECONDS = {"full": 6.0, "quick": 1.5}
GOAL = "at least 0.7"

OLD_JOBS = text("""
    INSERT INTO holdfast.jobs (id, task, queue, priority, status, args, result, attempt, max_attempts,
        parent_id, created_at, started_at, completed_at)
    SELECT id(n), 'work', 'default', 5, 'completed', '{"text": "some words"}', '{"words": 2}', 1, 4,
        CASE WHEN n % 6 <> 0 THEN id(n - n % 6) END, at, at, at
    FROM generate_series(0, :count - 1) AS n, LATERAL (SELECT now() - interval '40 days') AS old (at)
""")
OF_JOBS = (
    "INSERT INTO holdfast.attempts (job_id, attempt, worker, process, started_at, ended_at, outcome)"
    " SELECT id, 1, 'host:1:abcdef', 1, created_at, created_at, 'completed' FROM holdfast.jobs",
    "INSERT INTO holdfast.steps (job_id, name, key, fingerprint, result, attempt, started_at)"
    " SELECT id, 'step', k, '\\x00', '\"a result\"', 1, created_at"
    " FROM holdfast.jobs, generate_series(1, 3) AS k",
    "DROP FUNCTION id(bigint)",
    "VACUUM (ANALYZE) holdfast.jobs, holdfast.attempts, holdfast.steps",
)
# As `new_id` makes them: the time, and the number for what is random.
ID = """
    CREATE FUNCTION id(n bigint) RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT (lpad(to_hex((extract(epoch FROM now() - interval '40 days') * 1000)::bigint + n), 12, '0')
            || '70008000' || lpad(to_hex(n), 12, '0'))::uuid
    $$
"""
PROGRAM = """
import time
from datetime import timedelta
from uuid import UUID
from holdfast import Holdfast
from holdfast.jobs import retention
from holdfast.jobs.ids import new_id

database = Holdfast().database
after = UUID(int=0)
while after is not None:
    began = time.monotonic()
    with database.transaction() as session:
        needed = retention.referring_rows(session)
        age = timedelta(days=30)
        after = retention.delete_jobs(session, after=after, before=new_id(), age=age, needed=needed).last_id
    print("deleted", flush=True)
    time.sleep(time.monotonic() - began)
print("nothing left", flush=True)
"""


def main(size: Size) -> Figures:
    figures = Figures()
    with bed() as own:
        _fill(own, OLD[size])
        rounds = [_round(own, SECONDS[size]) for _ in range(-1, ROUNDS[size])][1:]
    figures.data = {"old jobs": OLD[size], "rounds": rounds}
    figures.show("jobs deleted a second", ranged([each["jobs"] for each in rounds], 0))
    figures.show("rows deleted a second", ranged([each["rows"] for each in rounds], 0))
    figures.show("claims and completions a second, alone", ranged([each["alone"] for each in rounds], 0))
    ratios = [each["beside"] / each["alone"] for each in rounds]
    figures.show("beside retention, to alone", ranged(ratios), GOAL)
    return figures


def _fill(own: Bed, count: int) -> None:
    with own.connect() as connection:
        connection.execute(ID)
    with own.holdfast.database.transaction() as session:
        session.execute(OLD_JOBS, {"count": count})
    with own.connect() as connection:
        for statement in OF_JOBS:
            connection.execute(statement)


def _round(own: Bed, seconds: float) -> dict[str, float]:
    alone = _claim_and_complete(own, seconds)
    program = own.run(f"retention-{new_id()}", "-c", PROGRAM)
    program.wait_for(lambda: "deleted" in program.tail(), "the first piece")
    before, began = _counted(own), time.monotonic()
    beside = _claim_and_complete(own, seconds)
    program.stop()
    took = time.monotonic() - began
    after = _counted(own)
    if "nothing left" in program.tail():
        raise RuntimeError("There was too little to delete.")
    jobs, rows = before[0] - after[0], sum(before) - sum(after)
    return {"alone": alone, "beside": beside, "jobs": jobs / took, "rows": rows / took}


def _claim_and_complete(own: Bed, seconds: float) -> float:
    done, until = 0, time.monotonic() + seconds
    lease = timedelta(minutes=1)
    while time.monotonic() < until:
        new = store.NewJob(new_id(), "claimed", {}, "default", 5, 4, 3)
        with own.holdfast.database.transaction() as session:
            store.enqueue(session, new)
        with own.holdfast.database.transaction() as session:
            claim = store.claim(session, new.id, worker="benchmark", process=1, lease=lease)
        if claim is None:
            raise RuntimeError("A queued job was not to be had.")
        with own.holdfast.database.transaction() as session:
            store.complete(session, claim, {"words": 2}, None)
        done += 1
    return done / seconds


def _counted(own: Bed) -> tuple[int, int, int]:
    """The old jobs that are left, their attempts and steps."""
    with own.holdfast.database.session() as session:
        counts = [
            session.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (Job, Attempt, Step)
        ]
        mine = select(func.count()).where(Job.task == "claimed")
        own_jobs = session.execute(mine).scalar_one()
    return counts[0] - own_jobs, counts[1] - own_jobs, counts[2]
