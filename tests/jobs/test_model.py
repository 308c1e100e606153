"""Random sequences of transitions, by several workers, leave the rows that a plain model says.

Every claim that was ever made is kept and tried again at any time later, as a worker does that was frozen.
`MODEL_EXAMPLES=2000 pytest tests/jobs/test_model.py` looks longer, and at other sequences each time.
"""

import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from databases import conninfo, copied_database
from factories import new_job
from holdfast.chaos import history
from holdfast.chaos.ledger import Ledger, read_history
from holdfast.jobs import children, leases, queues, store
from holdfast.jobs.delivery import sending
from job_happenings import (
    HOURS,
    OFTEN,
    OPERATIONS,
    PRIORITIES,
    PROCESSES,
    PROGRESS,
    SELDOM,
    WORKERS,
    a_claim,
    a_holder,
    a_left_claim,
    a_parent,
    a_paused_queue,
    a_queue,
    a_resumed_queue,
    a_shelf,
    a_startable_job,
    any_job,
    key_of,
    operation,
    some_claims,
    some_jobs,
)
from job_model import Model

# Long enough that the seconds which a test takes decide nothing.
UNIT = timedelta(hours=1)
SLACK = 0.25
LEASE = 2
MANY = 1_000

LATE = st.sampled_from(["complete", "fail", "stop", "hand_back", "retry"])
COMPARED = (
    *("queue", "priority", "status", "attempt", "failures", "crashes", "worker", "process"),
    *("result", "error", "progress", "is_sent", "is_asked_to_stop"),
)

_JOBS = text("""
    SELECT id, queue, priority, status, attempt, failures, crashes, worker, process, awaited_ids, result,
        error ->> 'code' AS error, (progress ->> 'current')::int AS progress, sent_at IS NOT NULL AS is_sent,
        cancel_requested_at IS NOT NULL AS is_asked_to_stop,
        (extract(epoch FROM run_at - now()) / 3600)::float AS run_at,
        (extract(epoch FROM lease_expires_at - now()) / 3600)::float AS lease_ends,
        (extract(epoch FROM times_out_at - now()) / 3600)::float AS times_out_at,
        (completed_at IS NOT NULL) AS has_ended, to_jsonb(jobs) AS whole,
        (
            SELECT jsonb_agg(jsonb_build_array(each.worker, each.process, each.outcome) ORDER BY each.attempt)
            FROM holdfast.attempts AS each WHERE job_id = jobs.id
        ) AS attempts
    FROM holdfast.jobs ORDER BY id
""")
# What has ended keeps its times, so that its whole row can be seen to stay as it is.
_SHIFT = (
    text("""
        UPDATE holdfast.jobs SET created_at = created_at - :by, run_at = run_at - :by,
            sent_at = sent_at - :by, started_at = started_at - :by, lease_expires_at = lease_expires_at - :by,
            times_out_at = times_out_at - :by, deadline = deadline - :by, start_by = start_by - :by,
            cancel_requested_at = cancel_requested_at - :by
        WHERE completed_at IS NULL
    """),
    text("""
        UPDATE holdfast.attempts SET started_at = attempts.started_at - :by, ended_at = ended_at - :by
        FROM holdfast.jobs WHERE jobs.id = job_id AND completed_at IS NULL
    """),
)
_EMPTY = (
    text("DELETE FROM holdfast.jobs"),
    text("DELETE FROM holdfast.paused_queues"),
    text("DELETE FROM chaos.writes"),
)


class Store(RuleBasedStateMachine):
    """The store on PostgreSQL beside its model."""

    engine = None
    ledger = None

    @initialize()
    def begin(self):
        self.model = Model()
        self.claims = []
        self.ended = {}
        for statement in _EMPTY:
            self.write(lambda session, statement=statement: session.execute(statement))

    # One rule for all: of several, Hypothesis would leave a random half out of each run, and most runs would
    # have nothing to work on.
    @rule(data=st.data())
    def happens(self, data):
        found = {}

        def given(source):
            if source not in found:
                found[source] = source(self) if callable(source) else source
            return found[source]

        possible = st.sampled_from(OPERATIONS).filter(
            lambda operation: all(given(source) is not None for source in operation[1].values())
        )
        method, arguments = data.draw(possible, label="what")
        method(self, **{name: data.draw(given(source), label=name) for name, source in arguments.items()})

    def write(self, work):
        with Session(self.engine) as session:
            return work(session)

    # -- a job comes, waits, is taken

    @operation(
        weight=3,
        queue=a_queue,
        priority=PRIORITIES,
        delay=st.sampled_from([0, 0, 0, 0, 2]),
        max_crashes=st.integers(1, 3),
        timeout=OFTEN,
        deadline=SELDOM,
        start_by=OFTEN,
    )
    def enqueue(self, queue, priority, delay, max_crashes, **limits):
        spans = {name: None if hours is None else hours * UNIT for name, hours in limits.items()}
        wait = delay * UNIT if delay else None
        job = new_job(queue=queue, priority=priority, max_crashes=max_crashes, delay=wait, **spans)
        assert self.write(lambda s: store.enqueue(s, job))
        self.model.enqueue(job.id, queue, priority, delay, max_crashes, **limits)

    @operation(weight=10, job_id=a_startable_job, worker=WORKERS, process=PROCESSES)
    @operation(weight=2, job_id=any_job, worker=WORKERS, process=PROCESSES)
    def claim(self, job_id, worker, process):
        lease = LEASE * UNIT
        claim = self.write(lambda s: store.claim(s, job_id, worker=worker, process=process, lease=lease))
        expected = self.model.claim(job_id, worker, process, LEASE)
        assert (claim and claim.attempt) == expected
        self.claims += [claim] if claim else []

    @operation(weight=4, length=st.integers(1, 3))
    def time_passes(self, length):
        self.write(lambda s: [s.execute(statement, {"by": length * UNIT}) for statement in _SHIFT])
        self.model.now += length

    @operation(queue=a_resumed_queue)
    def pause(self, queue):
        self.change(queue, queues.pause)

    @operation(weight=4, queue=a_paused_queue)
    def resume(self, queue):
        self.change(queue, queues.resume)

    def change(self, queue, how):
        assert self.write(lambda s: how(s, queue))
        self.model.paused ^= {queue}
        self.model.mark_unsent([job_id for job_id, job in self.model.jobs.items() if job.queue == queue])

    # -- an attempt writes, live or stale

    @operation(weight=2, holder=a_holder)
    def renew(self, holder):
        worker, processes = holder
        renewed = self.write(lambda s: leases.renew(s, processes, worker=worker, lease=LEASE * UNIT))
        assert renewed == self.model.renew(worker, processes, LEASE)

    @operation(weight=3, some=some_claims, current=st.integers(0, 9))
    def save_progress(self, some, current):
        keys = {key_of(claim) for claim in some}
        self.write(lambda s: store.save_progress(s, {key: _progress(current) for key in keys}))
        self.model.save_progress(dict.fromkeys(keys, current))

    @operation(claim=a_claim)
    def hold(self, claim):
        held = self.write(lambda s: store.hold(s, *key_of(claim)))
        assert held == (self.model.holder(key_of(claim)) is not None)

    @operation(claim=a_claim, result=st.none() | st.integers(), progress=PROGRESS)
    def complete(self, claim, result, progress):
        done = self.write(lambda s: store.complete(s, claim, result, _progress(progress)))
        assert done == self.model.complete(key_of(claim), result, progress)

    @operation(claim=a_claim, progress=PROGRESS)
    def fail(self, claim, progress):
        done = self.write(lambda s: store.fail(s, claim, _error("failed"), _progress(progress)))
        assert done == self.model.fail(key_of(claim), "failed", progress)

    @operation(weight=3, claim=a_claim, delay=HOURS)
    def retry_later(self, claim, delay):
        done = self.write(lambda s: store.retry_later(s, claim, _error("retried"), delay * UNIT))
        assert done == self.model.retry_later(key_of(claim), "retried", delay)

    @operation(weight=3, claim=a_claim, progress=PROGRESS)
    def hand_back(self, claim, progress):
        done = self.write(lambda s: store.hand_back(s, *key_of(claim), _progress(progress)))
        assert done == self.model.hand_back(key_of(claim), progress)

    @operation(weight=3, claim=a_claim, awaited=some_jobs, progress=PROGRESS, wakes_on_failure=st.booleans())
    def suspend(self, claim, awaited, progress, *, wakes_on_failure):
        how = {"wakes_on_failure": wakes_on_failure}
        done = self.write(lambda s: store.suspend(s, claim, awaited, _progress(progress), **how))
        assert done == self.model.suspend(key_of(claim), awaited, progress, **how)

    @operation(claim=a_claim, progress=PROGRESS)
    def stop(self, claim, progress):
        done = self.write(lambda s: store.stop(s, claim, _progress(progress)))
        assert done == self.model.stop(key_of(claim), progress)

    @operation(
        weight=2, claim=a_left_claim, how=st.sampled_from(["complete", "fail", "stop", "hand_back", "retry"])
    )
    def write_late(self, claim, how):
        """Whatever has become of the job."""
        match how:
            case "complete":
                self.complete(claim, 1, 2)
            case "fail":
                self.fail(claim, 3)
            case "stop":
                self.stop(claim, 4)
            case "hand_back":
                self.hand_back(claim, 5)
            case "retry":
                self.retry_later(claim, 0)

    # -- others write

    @operation(weight=6, job_id=a_parent)
    @operation(job_id=any_job)
    def wake(self, job_id):
        delivery = self.write(lambda s: children.wake(s, job_id))
        assert (delivery is not None) == self.model.can_go_on(job_id)
        if delivery:
            self.model.wake(job_id, is_sent=True)

    @operation(weight=2)
    def wake_waiting(self):
        able = [job_id for job_id in self.model.jobs if self.model.can_go_on(job_id)]
        assert self.write(lambda s: children.wake_waiting(s, limit=MANY)) == len(able)
        for job_id in able:
            self.model.wake(job_id, is_sent=False)

    @operation(weight=2, job_id=any_job)
    def cancel(self, job_id):
        assert self.write(lambda s: store.cancel(s, job_id)) == self.model.cancel(job_id)

    # Without a limit that matters: which of several it would take cannot be told, nor repeated.
    @operation(weight=3)
    def rescue_expired(self):
        taken = self.write(lambda s: leases.rescue_expired(s, limit=MANY))
        self.rescued(taken, lambda job: job.lease_ends <= self.model.now)

    @operation(worker=WORKERS)
    def rescue_from_workers(self, worker):
        taken = self.write(lambda s: leases.rescue_from_workers(s, [worker], limit=MANY))
        self.rescued(taken, lambda job: job.worker == worker)

    @operation(weight=2, holder=a_holder)
    def rescue_from_processes(self, holder):
        worker, processes = holder
        taken = self.write(lambda s: leases.rescue_from_processes(s, processes, worker=worker, limit=MANY))
        self.rescued(taken, lambda job: job.worker == worker and job.process in processes)

    @operation(worker=WORKERS)
    def hand_back_all(self, worker):
        held = [(job_id, job.attempt) for job_id, job in self.model.jobs.items() if job.worker == worker]
        back = self.write(lambda s: leases.hand_back_all(s, worker=worker))
        assert sorted(back) == sorted(job_id for job_id, _ in held)
        assert all(self.model.hand_back(key, None) for key in held)

    def rescued(self, taken, is_lost):
        assert sorted(taken) == sorted(
            job_id for job_id in self.model.jobs if self.model.is_rescued(job_id, is_lost)
        )
        self.model.rescue(taken)

    @operation(weight=2, shelf=a_shelf, limit=st.sampled_from([1, 10]))
    def take_unsent(self, shelf, limit):
        sent = self.write(lambda s: sending.take_unsent(s, shelf, limit=limit))
        waiting = self.model.unsent(shelf.queue, shelf.priority)
        taken = {delivery.id for delivery in sent}
        assert len(sent) == len(taken) == min(limit, len(waiting))
        assert taken <= waiting
        due = [self.model.jobs[job_id].run_at for job_id in waiting - taken]
        assert all(self.model.jobs[job_id].run_at <= later for job_id in taken for later in due)
        self.model.mark_sent(taken)

    @operation(job_id=any_job)
    def mark_unsent(self, job_id):
        count = self.write(lambda s: sending.mark_unsent(s, [job_id]))
        assert count == self.model.mark_unsent([job_id])

    # -- what must hold after each of them

    @invariant()
    def rows_are_those_of_the_model(self):
        rows = self.write(lambda s: s.execute(_JOBS).all())
        assert {row.id for row in rows} == set(self.model.jobs)
        for row in rows:
            self.compare(row)

    def compare(self, row):
        job = self.model.jobs[row.id]
        assert (row.attempts or []) == [[each.worker, each.process, each.outcome] for each in job.attempts]
        for name in COMPARED:
            assert getattr(row, name) == getattr(job, name), name
        assert row.awaited_ids == job.awaited
        assert row.has_ended == job.status.is_terminal
        if row.has_ended:
            assert self.ended.setdefault(row.id, row.whole) == row.whole
            return
        for name in ("run_at", "lease_ends", "times_out_at"):
            stored, expected = getattr(row, name), getattr(job, name)
            assert (stored is None) == (expected is None), name
            assert stored is None or abs(stored - (expected - self.model.now)) < SLACK, name

    def teardown(self):
        found = history.check(read_history(self.ledger), is_over=False)
        assert not found, "\n".join(map(str, found))


def _progress(current):
    return None if current is None else {"current": current, "total": None, "message": None}


def _error(code):
    return {"code": code, "message": "as asked", "stage": None, "attempt": 1}


@pytest.fixture(scope="module")
def machine(admin, engines, template):
    """The machine on a database of its own, in which every write is noted."""
    with copied_database(admin, engines.database_url, template) as url:
        # Every transition is one statement: without BEGIN and COMMIT the test goes three times as far.
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        ledger = Ledger(conninfo(url))
        ledger.prepare()
        yield type("Store", (Store,), {"engine": engine, "ledger": ledger})
        ledger.close()
        engine.dispose()


@pytest.mark.timeout(3600)
def test_store_does_what_the_model_says(machine):
    asked = os.environ.get("MODEL_EXAMPLES")
    profile = settings(
        max_examples=int(asked or 40),
        stateful_step_count=80,
        # The same sequences each time, unless more are asked for.
        derandomize=asked is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(machine, settings=profile)
