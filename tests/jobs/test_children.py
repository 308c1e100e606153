"""Children: spawned once, waited for without a slot, and ended with their parent."""

import asyncio
import threading
from uuid import UUID

import pytest
from sqlalchemy import select

from factories import LEASE, PROCESS, RAN_OUT, attempt_outcomes, claim_job, job_row, make_owner
from holdfast import Child, ChildFailed, ChildResult, JobContext
from holdfast.jobs import children, leases, retrying, store
from holdfast.jobs.models import Job
from holdfast.testing import run_job


@pytest.fixture
def double(holdfast):
    """The task that most parents of these tests spawn."""

    @holdfast.task(retries=0)
    def double(job: JobContext, number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return number * 2

    return double


@pytest.fixture
def children_of(session):
    """The ids of a job's children, first to last."""

    def children_of(job_id):
        session.rollback()
        return list(session.scalars(select(Job.id).where(Job.parent_id == job_id).order_by(Job.id)))

    return children_of


@pytest.fixture
def statuses(session):
    def statuses(job_ids):
        return [job_row(session, job_id)["status"] for job_id in job_ids]

    return statuses


def sync_parent(double):
    def parent(job: JobContext, numbers: list[int]) -> list[int]:
        spawned = [job.spawn_sync(double, number=number) for number in numbers]
        return job.gather_sync(*spawned)

    return parent


def async_parent(double):
    async def parent(job: JobContext, numbers: list[int]) -> list[int]:
        return await job.gather(*[await job.spawn(double, number=number) for number in numbers])

    return parent


def grouped_parent(double):
    async def parent(job: JobContext, numbers: list[int]) -> list[int]:
        spawned = await asyncio.gather(*(job.spawn(double, number=number) for number in numbers))
        async with asyncio.TaskGroup() as group:
            results = [group.create_task(job.gather(child)) for child in spawned]
        return [number for result in results for number in result.result()]

    return parent


@pytest.mark.parametrize("make", [sync_parent, async_parent, grouped_parent])
def test_parent_waits_without_a_slot_and_gathers_the_results(
    submit, attempt, session, double, children_of, make
):
    parent = submit(make(double), numbers=[1, 2, 3])

    row = attempt(parent)
    spawned = children_of(parent)
    assert (row["status"], set(row["awaited_ids"]), row["sent_at"]) == ("queued", set(spawned), None)
    assert [job_row(session, child)["args"]["number"] for child in spawned] == [1, 2, 3]

    for child in spawned[:2]:
        attempt(child)
    assert attempt(parent)["attempt"] == 1, "it waits for the third"
    attempt(spawned[2])
    assert job_row(session, parent)["sent_at"] is not None, "it was sent at once"

    row = attempt(parent)
    assert (row["status"], row["result"]) == ("completed", [2, 4, 6])
    assert (row["failures"], row["crashes"]) == (0, 0)
    assert attempt_outcomes(session, parent) == ["suspended", "completed"]
    assert children_of(parent) == spawned


def test_child_belongs_to_the_owner_of_its_parent(submit, attempt, session, holdfast, double, children_of):
    owner, _ = make_owner(session)
    task = holdfast.task(async_parent(double))
    parent = task.enqueue(session, owner=owner, numbers=[1]).job_id
    session.commit()
    attempt(parent)
    (child,) = children_of(parent)
    assert job_row(session, child)["owner_id"] == owner.id


def test_child_is_spawned_once_though_its_parent_is_tried_again(submit, attempt, double, children_of):
    def parent(job: JobContext) -> None:
        job.spawn_sync(double, number=1)
        job.spawn_sync(double, "two", number=2)
        if job.attempt == 1:
            raise ValueError("as asked")

    job_id = submit(parent)
    attempt(job_id)
    assert attempt(job_id)["status"] == "completed"
    assert len(children_of(job_id)) == 2


def test_changed_arguments_of_a_child_are_told(submit, attempt, double):
    def parent(job: JobContext) -> None:
        job.spawn_sync(double, number=job.attempt)
        raise ValueError("as asked")

    job_id = submit(parent)
    attempt(job_id)
    assert attempt(job_id)["error"]["code"] == "step_changed"


def test_fail_fast_wakes_at_the_first_failure_and_cancels_the_others(
    submit, attempt, session, double, children_of, statuses
):
    seen = []

    def parent(job: JobContext) -> None:
        spawned = [job.spawn_sync(double, number=number) for number in (1, -1, 2)]
        try:
            job.gather_sync(*spawned)
        except ChildFailed as error:
            seen.append(error)
            raise

    job_id = submit(parent)
    attempt(job_id)
    spawned = children_of(job_id)
    attempt(spawned[1])
    row = attempt(job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "child_failed")
    assert "ValueError: negative" in row["error"]["message"]
    assert (seen[0].job_id, seen[0].task) == (spawned[1], "double")
    assert statuses(spawned) == ["cancelled", "failed", "cancelled"]


def test_collect_waits_for_all_and_tells_how_each_ended(submit, attempt, session, double, children_of):
    seen = []

    async def parent(job: JobContext) -> None:
        spawned = [await job.spawn(double, number=number) for number in (1, -1, 2)]
        seen.extend(await job.gather(*spawned, on_failure="collect"))

    job_id = submit(parent)
    attempt(job_id)
    first, second, third = children_of(job_id)
    attempt(second)
    assert attempt(job_id)["attempt"] == 1, "it waits for the others"
    attempt(first)
    store.cancel(session, third)
    session.commit()
    assert children.wake_waiting(session, limit=10) == 1
    session.commit()
    assert attempt(job_id)["status"] == "completed"
    assert [(child.id, child.status, child.result) for child in seen] == [
        (first, "completed", 2),
        (second, "failed", None),
        (third, "cancelled", None),
    ]
    assert seen[1].error["code"] == "task_error"
    assert isinstance(seen[0], ChildResult)


def test_nothing_to_gather_is_gathered_at_once(submit, attempt):
    def parent(job: JobContext) -> list[int]:
        return job.gather_sync()

    assert attempt(submit(parent))["result"] == []


def test_result_of_a_child_is_read_by_its_annotation(submit, attempt, holdfast, children_of):
    @holdfast.task
    def name(job: JobContext) -> UUID:
        return UUID(int=7)

    def parent(job: JobContext) -> int:
        (found,) = job.gather_sync(job.spawn_sync(name))
        return found.int

    job_id = submit(parent)
    attempt(job_id)
    attempt(children_of(job_id)[0])
    assert attempt(job_id)["result"] == 7


def test_child_that_ended_before_the_suspension_was_written_wakes_its_parent(
    submit, attempt, holdfast, session, double, children_of
):
    def parent(job: JobContext) -> list[int]:
        child = job.spawn_sync(double, number=1)
        try:
            return job.gather_sync(child)
        finally:
            if job.attempt == 1:
                run_job(holdfast, child.id)

    job_id = submit(parent)
    row = attempt(job_id)
    assert (row["status"], row["awaited_ids"]) == ("queued", None)
    assert row["sent_at"] is not None
    assert attempt(job_id)["result"] == [2]


def test_two_last_children_that_end_at_once_do_not_both_miss_it(submit, attempt, session, holdfast, double):
    parents = [submit(async_parent(double), numbers=[1, 2])]
    task = holdfast.tasks["parent"]
    parents += [task.enqueue(session, numbers=[1, 2]).job_id for _ in range(9)]
    session.commit()
    for parent in parents:
        attempt(parent)
        claims = [claim_job(session, child) for child in awaited(session, parent)]
        both_ended = threading.Barrier(2)

        def end(claim, parent=parent, both_ended=both_ended):
            with holdfast.database.transaction() as own:
                store.complete(own, claim, 1, None)
            both_ended.wait(30)
            with holdfast.database.transaction() as own:
                return children.wake(own, parent)

        threads = [threading.Thread(target=end, args=(claim,)) for claim in claims]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert job_row(session, parent)["awaited_ids"] is None


def awaited(session, job_id):
    return job_row(session, job_id)["awaited_ids"]


def test_steps_under_way_are_finished_before_the_task_is_left(submit, attempt, saved, double):
    async def parent(job: JobContext) -> list[int]:
        async def slow(number: int) -> int:
            await asyncio.sleep(0.05)
            return number

        async def branch() -> int:
            return await job.step("first", slow, 1) + await job.step("second", slow, 2)

        async with asyncio.TaskGroup() as group:
            steps = group.create_task(branch())
            gathered = group.create_task(job.gather(await job.spawn(double, number=1)))
        return [steps.result(), *gathered.result()]

    job_id = submit(parent)
    assert attempt(job_id)["status"] == "queued"
    assert {("first", "#0"): 1, ("second", "#0"): 2}.items() <= saved(job_id).items()


def test_step_cannot_wait_for_children(submit, attempt, double):
    async def parent(job: JobContext) -> None:
        async def inner() -> None:
            await job.gather(await job.spawn(double, number=1))

        await job.step("inner", inner)

    assert attempt(submit(parent))["error"]["code"] == "step_misuse"


@pytest.fixture
def family(submit, attempt, holdfast, double, children_of):
    """A parent that waits for two that wait for one each; returns the ids, level by level."""

    @holdfast.task
    def middle(job: JobContext, number: int) -> list[int]:
        return job.gather_sync(job.spawn_sync(double, number=number))

    def parent(job: JobContext) -> list[list[int]]:
        return job.gather_sync(*(job.spawn_sync(middle, number=number) for number in (1, 2)))

    top = submit(parent)
    attempt(top)
    middles = children_of(top)
    for job_id in middles:
        attempt(job_id)
    return top, middles, [child for job_id in middles for child in children_of(job_id)]


def test_cancelling_a_parent_cancels_its_descendants(session, family, statuses):
    top, middles, leaves = family
    running = claim_job(session, leaves[0])

    assert store.cancel(session, top) == "cancelled"
    session.commit()
    assert statuses([top, *middles]) == ["cancelled"] * 3
    assert statuses(leaves) == ["processing", "cancelled"]
    assert job_row(session, running.id)["cancel_requested_at"] is not None


def test_parent_that_fails_cancels_what_it_has_spawned(submit, attempt, holdfast, double, family, statuses):
    top, middles, leaves = family
    with holdfast.database.transaction() as session:
        store.cancel(session, leaves[0])
        assert children.wake_waiting(session, limit=10) == 1
    assert attempt(middles[0])["status"] == "failed"
    assert attempt(top)["status"] == "failed"
    assert statuses(middles) == ["failed", "cancelled"]
    assert statuses(leaves) == ["cancelled", "cancelled"]


def test_parent_that_is_lost_for_good_takes_its_children_along(submit, session, double, attempt, holdfast):
    claims = []

    def parent(job: JobContext) -> None:
        claims.append(job.spawn_sync(double, number=1))
        raise ValueError("as asked")

    job_id = submit(parent, options={"max_crashes": 1})
    attempt(job_id)
    claim_job(session, job_id, lease=RAN_OUT)
    assert leases.rescue_expired(session, limit=10) == [job_id]
    session.commit()
    assert job_row(session, job_id)["status"] == "failed"
    assert job_row(session, claims[0].id)["status"] == "cancelled"


def test_retry_with_its_steps_spawns_anew_what_had_not_completed(
    submit, attempt, session, holdfast, double, children_of
):
    def parent(job: JobContext) -> list[int]:
        spawned = [job.spawn_sync(double, number=number) for number in (1, 2, 3)]
        return job.gather_sync(*spawned)

    dead = submit(parent)
    attempt(dead)
    first, second, _ = children_of(dead)
    attempt(first)
    store.cancel(session, second)
    session.commit()
    children.wake_waiting(session, limit=10)
    session.commit()
    assert attempt(dead)["status"] == "failed"

    task, row = holdfast.tasks["parent"], session.get(Job, dead)
    retried = retrying.retry(session, task, row, retrying.RetryRequest(dead)).job_id
    session.commit()
    attempt(retried)
    anew = children_of(retried)
    assert [job_row(session, child)["args"]["number"] for child in anew] == [2, 3]
    for child in anew:
        attempt(child)
    assert attempt(retried)["result"] == [2, 4, 6]


def test_stale_parent_spawns_nothing(submit, attempt, session, holdfast, double, children_of):
    def parent(job: JobContext) -> None:
        worker = job_row(session, job.id)["worker"]
        with holdfast.database.transaction() as own:
            leases.rescue_from_workers(own, [worker], limit=10)
            store.claim(own, job.id, worker="worker-2", process=PROCESS, lease=LEASE)
        job.spawn_sync(double, number=1)

    job_id = submit(parent)
    assert attempt(job_id)["status"] == "processing"
    assert children_of(job_id) == []


def test_child_that_was_deleted_is_told(submit, attempt, session, double):
    spawned = []

    def parent(job: JobContext) -> None:
        spawned.append(job.spawn_sync(double, number=1))
        job.gather_sync(*spawned[:1])

    job_id = submit(parent)
    attempt(job_id)
    assert isinstance(spawned[0], Child)
    session.delete(session.get(Job, spawned[0].id))
    session.commit()
    assert children.wake_waiting(session, limit=10) == 1
    session.commit()
    assert attempt(job_id)["error"]["code"] == "child_missing"
