"""Jobs that belong together: whatever is missing, or there twice, is found."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from holdfast.chaos.history import History, JobRecord, Rule
from holdfast.chaos.related import check_batches, check_families, check_ticks, count_related
from holdfast.states import JobStatus

PARENT, BATCH = UUID(int=1), UUID(int=2)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FAMILIES = {"family": 3}


def job(number, **fields):
    return JobRecord(
        UUID(int=number), JobStatus.COMPLETED, 1, 0, 0, NOON, NOON, (), **{"task": "work"} | fields
    )


def history(*jobs, batches=None):
    return History({each.id: each for each in jobs}, batches=batches or {})


def child(number, part):
    return job(number, parent_id=PARENT, args={"number": part})


def family(*children, **fields):
    return history(job(1, task="family", **fields), *children)


def ticked(number, minutes, task="tick"):
    return job(number, task=task, tick=NOON + minutes * MINUTE)


def test_whole_family_is_no_violation():
    assert list(check_families(family(child(11, 0), child(12, 1), child(13, 2)), FAMILIES)) == []


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([], id="none"),
        pytest.param([0, 1], id="lost"),
        pytest.param([0, 1, 2, 1], id="doubled"),
        pytest.param([0, 1, 1], id="lost and doubled"),
        pytest.param([0, 1, 2, 3], id="never asked for"),
    ],
)
def test_family_with_other_children_is_found(parts):
    children = [child(number, part) for number, part in enumerate(parts, start=11)]
    (found,) = check_families(family(*children), FAMILIES)
    assert (found.rule, found.job_id) == (Rule.EACH_CHILD_ONCE, PARENT)
    assert str(sorted(parts)) in str(found)


def test_family_is_counted_when_its_parent_has_ended():
    begun = family(child(11, 0))
    begun = replace(
        begun, jobs=begun.jobs | {PARENT: replace(begun.jobs[PARENT], status=JobStatus.PROCESSING)}
    )
    assert list(check_families(begun, FAMILIES)) == []


def test_job_of_another_task_may_spawn_what_it_likes():
    assert list(check_families(history(job(1), child(11, 7)), FAMILIES)) == []


@pytest.mark.parametrize(("jobs", "is_torn"), [(0, True), (1, True), (2, False), (3, True)])
def test_batch_without_just_its_jobs_is_torn(jobs, is_torn):
    members = [job(number, batch_id=BATCH) for number in range(11, 11 + jobs)]
    found = list(check_batches(history(job(1), *members, batches={BATCH: 2})))
    assert [violation.rule for violation in found] == [Rule.BATCH_WHOLE] * is_torn
    assert all(f"{jobs} are there" in str(violation) for violation in found)


def test_ticks_are_complete_from_the_first_to_the_last():
    ticks = history(ticked(11, 3), ticked(12, 4), ticked(13, 5), ticked(14, 3, task="another"), job(15))
    assert list(check_ticks(ticks, {"tick": MINUTE})) == []


@pytest.mark.parametrize(
    ("minutes", "every"),
    [
        pytest.param([3, 4, 4, 5], {"tick": MINUTE}, id="doubled"),
        pytest.param([3, 3], {}, id="doubled, of whatever schedule"),
        pytest.param([3, 5], {"tick": MINUTE}, id="lost"),
        pytest.param([3, 3.5], {"tick": MINUTE}, id="between the ticks"),
    ],
)
def test_tick_that_is_lost_or_doubled_is_found(minutes, every):
    ticks = history(*(ticked(number, minute) for number, minute in enumerate(minutes, start=11)))
    assert {found.rule for found in check_ticks(ticks, every)} == {Rule.EACH_TICK_ONCE}


def test_gaps_of_an_unknown_schedule_are_no_violation():
    assert list(check_ticks(history(ticked(11, 3), ticked(12, 9)), {})) == []


def test_jobs_are_counted_by_what_they_belong_to():
    found = count_related(
        history(job(1), child(11, 0), job(12, batch_id=BATCH), ticked(13, 3), batches={BATCH: 1})
    )
    assert found == {"jobs in all": 4, "children": 1, "batches": 1, "ticks": 1}
