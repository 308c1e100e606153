"""What may happen to the store, and with which of the jobs and claims there are.

Drawn at random, most writes would come from claims whose jobs have long ended, and most claims would be
refused.
"""

from hypothesis import strategies as st

from holdfast.jobs.waiting import Shelf

ALL_QUEUES = ["default", "gpu"]
ALL_PRIORITIES = [0, 5]
QUEUES = st.sampled_from(ALL_QUEUES)
PRIORITIES = st.sampled_from(ALL_PRIORITIES)
WORKERS = st.sampled_from(["worker-1", "worker-2"])
PROCESSES = st.sampled_from([1, 2])
PROGRESS = st.none() | st.integers(0, 9)
HOURS = st.sampled_from([0, 0, 1, 3])
SELDOM = st.sampled_from([*[None] * 5, 1, 3])
OFTEN = st.sampled_from([None, 1, 3])


def a_job(machine):
    """Any job; more often than not one that has not ended."""
    jobs = machine.model.jobs
    unfinished = [job_id for job_id, job in jobs.items() if not job.status.is_terminal]
    return _one_of(list(jobs), unfinished)


def a_waiting_job(machine):
    """Any job; most often one that waits, and more often than not one that may start."""
    jobs = machine.model.jobs
    waiting = [job_id for job_id, job in jobs.items() if job.status == "queued"]
    return _one_of(list(jobs), waiting, *[list(filter(machine.model.may_start, jobs))] * 3)


def some_jobs(machine):
    return st.lists(a_job(machine), min_size=1, max_size=2)


def a_claim(machine):
    """Any claim that was ever made; most often of a job that runs, under this claim or a later one."""
    jobs = machine.model.jobs
    running = [claim for claim in machine.claims if jobs[claim.id].status == "processing"]
    stale = [claim for claim in running if jobs[claim.id].attempt != claim.attempt]
    return _one_of(machine.claims, running, stale)


def some_claims(machine):
    return st.lists(a_claim(machine), min_size=1, max_size=3)


def a_shelf(machine):
    """Where jobs may stand that the broker was not told of."""
    jobs = [job for job in machine.model.jobs.values() if job.status == "queued" and not job.is_sent]
    every = [Shelf(queue, priority) for queue in ALL_QUEUES for priority in ALL_PRIORITIES]
    return _one_of(every, [Shelf(job.queue, job.priority) for job in jobs])


def a_holder(machine):
    """A worker with some of its processes."""
    live = [(job.worker, {job.process}) for job in machine.model.jobs.values() if job.worker]
    return _one_of([("worker-1", {1, 2}), ("worker-2", {1}), ("worker-2", {2})], live)


def _one_of(everything, *preferred):
    return st.one_of(*(st.sampled_from(some) for some in preferred if some), st.sampled_from(everything))


OPERATIONS = []


def operation(*, weight=1, **arguments):
    """Register what may happen, and what it is given: strategies, or functions that give one."""

    def register(method):
        OPERATIONS.extend([(method, arguments)] * weight)
        return method

    return register


def key_of(claim):
    return claim.id, claim.attempt
