"""What Celery's result backend is told of jobs by Celery's own tracer, in processes and threads."""

import pytest
from celery import chord, group, signals
from celery.app.trace import trace_task

from factories import queue_job
from waiting import wait_for


@pytest.fixture
def queue(session):
    """Queue a job that nobody is sent; returns the id."""

    def queue(name, *, max_attempts=2, **arguments):
        return str(queue_job(session, task=name, args=arguments, max_attempts=max_attempts))

    return queue


@pytest.fixture
def trace(holdfast):
    """Run a job as a process of a worker does; returns what Celery knows of it."""

    def trace(name, job_id, **request):
        task = holdfast.celery.tasks[name]
        facts = {"id": job_id, "delivery_info": {}, **request}
        trace_task(task, job_id, [job_id], {}, facts, app=holdfast.celery)
        return holdfast.celery.AsyncResult(job_id)

    yield trace
    holdfast._parts.results.get().flush()


def test_result_of_a_completed_job_comes_to_who_waits_for_it(queue, trace):
    outcome = trace("add", queue("add", a=1, b=2))

    assert outcome.get(timeout=30) == 3
    assert outcome.state == "SUCCESS"
    assert outcome.date_done is not None


def test_results_are_told_before_a_process_of_the_pool_ends(queue, trace):
    outcomes = [trace("add", queue("add", a=1, b=number)) for number in range(3)]

    signals.worker_process_shutdown.send(sender=None, pid=1, exitcode=0)

    assert [outcome.state for outcome in outcomes] == ["SUCCESS"] * 3


@pytest.mark.parametrize(("max_attempts", "state"), [(1, "FAILURE"), (2, "RETRY")])
def test_that_a_job_has_started_is_not_told_after_its_failure(holdfast, queue, trace, max_attempts, state):
    outcome = trace("fail", queue("fail", max_attempts=max_attempts))

    holdfast._parts.results.get().flush()
    assert outcome.state == state


def test_job_in_a_group_is_told_with_all_that_celery_keeps_of_one(holdfast, queue, trace):
    job_id = queue("add", a=1, b=2)
    outcome = trace("add", job_id, group="a-group", parent_id="a-parent")

    meta = holdfast.celery.backend.get_task_meta(job_id)
    assert (outcome.result, meta["group_id"], meta["parent_id"]) == (3, "a-group", "a-parent")


def test_message_that_comes_again_leaves_the_result(holdfast, queue, trace):
    job_id = queue("add", a=1, b=2)
    assert trace("add", job_id).get(timeout=30) == 3

    outcome = trace("add", job_id)

    holdfast._parts.results.get().flush()
    assert (outcome.state, outcome.result) == ("SUCCESS", 3)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_jobs_go_on_in_celerys_chains_groups_and_chords(start_worker, holdfast, queue, pool):
    start_worker(pool=pool)

    def add(number):
        return holdfast.celery.signature("add", [queue("add", a=1, b=number)], immutable=True)

    chained = (add(1) | add(2)).apply_async()
    grouped = group([add(3), add(4)], app=holdfast.celery).apply_async()
    of_chord = chord([add(5), add(6)], add(7), app=holdfast.celery).apply_async()

    assert grouped.get(timeout=30) == [4, 5]
    assert (chained.get(timeout=30), chained.parent.get(timeout=30)) == (3, 2)
    assert of_chord.get(timeout=30) == 8
    wait_for(lambda: of_chord.state == "SUCCESS", "the state of the chord")
