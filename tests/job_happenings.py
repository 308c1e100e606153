"""What may happen to the store, and with which of the jobs and claims there are.

Drawn at random, most writes would come from claims whose jobs have long ended, and most claims would be
refused.
"""

from hypothesis import strategies as st

from holdfast.jobs.delivery.waiting import Shelf

ALL_QUEUES = ["default", "gpu"]
ALL_PRIORITIES = [0, 5]
QUEUES = st.sampled_from(ALL_QUEUES)
PRIORITIES = st.sampled_from(ALL_PRIORITIES)
MAX_JOBS = 4
WORKERS = st.sampled_from(["worker-1", "worker-2"])
PROCESSES = st.sampled_from([1, 2])
PROGRESS = st.none() | st.integers(0, 9)
HOURS = st.sampled_from([0, 0, 1, 3])
SELDOM = st.sampled_from([*[None] * 5, 1, 3])
OFTEN = st.sampled_from([None, 1, 3])


def any_job(machine):
    """Any job; more often than not one that has not ended."""
    jobs = machine.model.jobs
    return _one_of(jobs, [job_id for job_id, job in jobs.items() if not job.status.is_terminal])


def a_startable_job(machine):
    return _one_of(filter(machine.model.may_start, machine.model.jobs))


def a_parent(machine):
    """A job that waits for others; more often than not one that need not any more."""
    waiting = [job_id for job_id, job in machine.model.jobs.items() if job.awaited is not None]
    return _one_of(waiting, filter(machine.model.can_go_on, waiting))


def some_jobs(machine):
    """What a parent waits for: those that have ended and those that have not."""
    jobs = machine.model.jobs
    some = _one_of(jobs, [job_id for job_id, job in jobs.items() if job.status.is_terminal])
    return None if some is None else st.lists(some, min_size=1, max_size=2)


def a_left_claim(machine):
    """A claim of a job that waits or has ended."""
    jobs = machine.model.jobs
    return _one_of([claim for claim in machine.claims if jobs[claim.id].status != "processing"])


def a_claim(machine):
    """A claim of a job that runs, which holds it or has lost it to a later one."""
    jobs = machine.model.jobs
    running = [claim for claim in machine.claims if jobs[claim.id].status == "processing"]
    return _one_of(running, [claim for claim in running if jobs[claim.id].attempt != claim.attempt])


def some_claims(machine):
    some = a_claim(machine)
    return None if some is None else st.lists(some, min_size=1, max_size=3)


def a_queue(machine):
    """Where a job may come; `None` while there are enough."""
    return QUEUES if machine.model.count_moving() < MAX_JOBS else None


def a_paused_queue(machine):
    return _one_of(sorted(machine.model.paused))


def a_resumed_queue(machine):
    return None if machine.model.paused else QUEUES


def a_shelf(machine):
    """Where jobs may stand that the broker was not told of."""
    jobs = [job for job in machine.model.jobs.values() if job.status == "queued" and not job.is_sent]
    every = [Shelf(queue, priority) for queue in ALL_QUEUES for priority in ALL_PRIORITIES]
    return _one_of(every, [Shelf(job.queue, job.priority) for job in jobs])


def a_holder(machine):
    """A worker with some of its processes."""
    live = [(job.worker, {job.process}) for job in machine.model.jobs.values() if job.worker]
    return _one_of([("worker-1", {1, 2}), ("worker-2", {1}), ("worker-2", {2})], *[live] * 3)


def _one_of(everything, *preferred):
    """One of them, and of those that are preferred as often; `None` if there are none."""
    choices = [choice for choice in map(list, (everything, *preferred)) if choice]
    return st.one_of(*map(st.sampled_from, choices)) if choices else None


OPERATIONS = []


def operation(*, weight=1, **arguments):
    """Register what may happen, and what it is given: strategies, or functions that give one, if there is."""

    def register(method):
        OPERATIONS.extend([(method, arguments)] * weight)
        return method

    return register


def key_of(claim):
    return claim.id, claim.attempt
