"""What the store promises, as plain Python: a job, and what each transition makes of it. No clock.

Times are whole hours. What a transition returns is what the store is expected to return.
"""

from dataclasses import dataclass, field

from holdfast.states import AttemptOutcome, JobStatus

QUEUED, PROCESSING, FAILED, CANCELLED = (
    JobStatus.QUEUED,
    JobStatus.PROCESSING,
    JobStatus.FAILED,
    JobStatus.CANCELLED,
)


@dataclass
class Attempt:
    worker: str
    process: int
    outcome: AttemptOutcome | None = None


@dataclass
class Job:
    queue: str
    priority: int
    run_at: int
    is_sent: bool
    max_crashes: int
    timeout: int | None = None
    deadline: int | None = None
    start_by: int | None = None
    status: JobStatus = QUEUED
    failures: int = 0
    crashes: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    worker: str | None = None
    process: int | None = None
    lease_ends: int | None = None
    times_out_at: int | None = None
    is_asked_to_stop: bool = False
    awaited: list | None = None
    wakes_on_failure: bool = False
    result: object = None
    error: str | None = None
    progress: int | None = None

    @property
    def attempt(self):
        return len(self.attempts)

    def holds(self, attempt):
        """Whether this attempt may write."""
        return self.status == PROCESSING and self.attempt == attempt

    def leave(self, outcome, status, *, may_stop=False):
        """The end of the attempt that runs; one that goes on ends instead if it was asked to."""
        self.attempts[-1].outcome = outcome
        self.status = CANCELLED if may_stop and self.is_asked_to_stop else status
        self.worker = self.process = self.lease_ends = self.times_out_at = None


class Model:
    """All jobs, by id; `now` is the hour."""

    def __init__(self):
        self.now = 0
        self.jobs: dict = {}
        self.paused: set[str] = set()

    def count_moving(self):
        """How many jobs have not ended, and wait neither for others nor in vain."""
        return sum(
            not (job.status.is_terminal or job.awaited is not None or self.is_late(job))
            for job in self.jobs.values()
        )

    def is_late(self, job):
        begins_late = job.start_by is not None and job.start_by <= self.now and not job.attempts
        return begins_late or (job.deadline is not None and job.deadline <= self.now)

    def holder(self, key):
        """The job, if this attempt holds it."""
        job_id, attempt = key
        job = self.jobs[job_id]
        return job if job.holds(attempt) else None

    def enqueue(self, job_id, queue, priority, delay, max_crashes, **limits):
        ends = {name: None if hours is None else self.now + hours for name, hours in limits.items()}
        ends["timeout"] = limits["timeout"]
        is_sent = not delay and queue not in self.paused
        self.jobs[job_id] = Job(queue, priority, self.now + delay, is_sent, max_crashes, **ends)

    def may_start(self, job_id):
        job = self.jobs[job_id]
        waits = job.run_at > self.now or job.awaited is not None or job.queue in self.paused
        return job.status == QUEUED and not waits and not self.is_late(job)

    def claim(self, job_id, worker, process, lease):
        if not self.may_start(job_id):
            return None
        job = self.jobs[job_id]
        job.status = PROCESSING
        job.attempts.append(Attempt(worker, process))
        job.worker, job.process, job.lease_ends = worker, process, self.now + lease
        ends = [job.deadline, None if job.timeout is None else self.now + job.timeout]
        job.times_out_at = min((end for end in ends if end is not None), default=None)
        return job.attempt

    def renew(self, worker, processes, lease):
        held = [job for job in self.jobs.values() if job.worker == worker and job.process in processes]
        for job in held:
            job.lease_ends = self.now + lease
        return len(held)

    def save_progress(self, progress):
        for key, current in progress.items():
            if job := self.holder(key):
                job.progress = current

    def complete(self, key, result, progress):
        if not (job := self.holder(key)):
            return False
        job.leave(AttemptOutcome.COMPLETED, JobStatus.COMPLETED)
        job.result, job.error = result, None
        self._keep(job, progress)
        return True

    def fail(self, key, error, progress):
        if not (job := self.holder(key)):
            return False
        job.leave(AttemptOutcome.FAILED, FAILED)
        job.failures += 1
        job.error = error
        self._keep(job, progress)
        return True

    def retry_later(self, key, error, delay):
        if not (job := self.holder(key)):
            return False
        job.leave(AttemptOutcome.RETRIED, QUEUED, may_stop=True)
        job.failures += 1
        job.error, job.run_at, job.is_sent = error, self.now + delay, False
        return True

    def hand_back(self, key, progress):
        if not (job := self.holder(key)):
            return False
        job.leave(AttemptOutcome.HANDED_BACK, QUEUED, may_stop=True)
        job.is_sent = False
        self._keep(job, progress)
        return True

    def suspend(self, key, awaited, progress, *, wakes_on_failure):
        if not (job := self.holder(key)):
            return False
        job.leave(AttemptOutcome.SUSPENDED, QUEUED, may_stop=True)
        job.awaited = None if job.status == CANCELLED else awaited
        job.wakes_on_failure = wakes_on_failure
        job.is_sent = False
        self._keep(job, progress)
        return True

    def can_go_on(self, job_id):
        """Whether a job that waits for others has to wait no more."""
        job = self.jobs[job_id]
        if job.awaited is None:
            return False
        found = [self.jobs[each].status for each in job.awaited]
        is_failed = FAILED in found or CANCELLED in found
        return all(status.is_terminal for status in found) or (job.wakes_on_failure and is_failed)

    def wake(self, job_id, *, is_sent):
        job = self.jobs[job_id]
        job.awaited, job.run_at, job.is_sent = None, self.now, is_sent

    def stop(self, key, progress):
        if not (job := self.holder(key)):
            return False
        job.leave(AttemptOutcome.CANCELLED, CANCELLED)
        self._keep(job, progress)
        return True

    def cancel(self, job_id):
        job = self.jobs[job_id]
        if not job.status.is_terminal:
            job.status = CANCELLED if job.status == QUEUED else PROCESSING
            job.is_asked_to_stop = True
            job.awaited = None
        return job.status

    def is_rescued(self, job_id, is_lost):
        job = self.jobs[job_id]
        return job.status == PROCESSING and is_lost(job)

    def rescue(self, job_ids):
        for job_id in job_ids:
            job = self.jobs[job_id]
            is_poisonous = job.crashes + 1 >= job.max_crashes
            job.leave(AttemptOutcome.LOST, FAILED if is_poisonous else QUEUED, may_stop=True)
            job.crashes += 1
            job.is_sent = False
            if is_poisonous:
                job.error = "worker_lost"

    def unsent(self, queue, priority):
        """The ids of the jobs that the relay may send."""
        return {
            job_id
            for job_id, job in self.jobs.items()
            if job.status == QUEUED
            and not job.is_sent
            and job.awaited is None
            and job.run_at <= self.now
            and (job.queue, job.priority) == (queue, priority)
        }

    def mark_sent(self, job_ids):
        for job_id in job_ids:
            self.jobs[job_id].is_sent = True

    def mark_unsent(self, job_ids):
        unsent = [job for job_id in job_ids if (job := self.jobs[job_id]).status == QUEUED and job.is_sent]
        for job in unsent:
            job.is_sent = False
        return len(unsent)

    @staticmethod
    def _keep(job, progress):
        if progress is not None:
            job.progress = progress
