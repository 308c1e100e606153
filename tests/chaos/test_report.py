"""What a run's figures are made from: paid calls and saved steps, jobs and submits, waits after kills."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from holdfast.chaos.fleet import Blow
from holdfast.chaos.history import AttemptRecord, Effect, History, JobRecord
from holdfast.chaos.provider import PaidCall
from holdfast.chaos.recovery import quantile, recoveries
from holdfast.chaos.report import Bought, Submissions, compare_calls, make_report
from holdfast.chaos.storm import Outage
from holdfast.states import AttemptOutcome, JobStatus

ID, OTHER, THIRD = UUID(int=1), UUID(int=2), UUID(int=3)
WORKER, CHILD = 100, 101


def at(second):
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def call(attempt, key="k"):
    return PaidCall(str(ID), "buy", attempt, key)


@pytest.mark.parametrize(
    ("calls", "saved_by", "expected"),
    [
        pytest.param([call(1)], 1, Bought(calls=1), id="bought once"),
        pytest.param([call(1), call(2)], 2, Bought(calls=2, unsaved=1), id="killed before it was saved"),
        pytest.param([call(1), call(2)], 1, Bought(calls=2, after_saving=1), id="a saved step run again"),
        pytest.param([call(1), call(2)], None, Bought(calls=2, unsaved=1), id="never saved"),
        pytest.param(
            [call(1), call(2, "another")], 2, Bought(calls=2, under_another_key=1), id="under another key"
        ),
        pytest.param([call(1), call(2), call(1)], 2, Bought(calls=3, unsaved=2), id="by a zombie, late"),
    ],
)
def test_paid_calls_are_compared_with_the_steps_that_were_saved(calls, saved_by, expected):
    saved = {} if saved_by is None else {(str(ID), "buy"): saved_by}
    assert compare_calls(calls, saved) == expected


def job(job_id=ID, status=JobStatus.COMPLETED, task="quick"):
    attempts = (
        AttemptRecord(1, at(1), at(4), AttemptOutcome.LOST, f"host:{WORKER}:token", CHILD),
        AttemptRecord(2, at(5), at(6), AttemptOutcome.COMPLETED, "host:200:token", 201),
    )
    return JobRecord(job_id, status, 2, 0, 1, at(0), at(6), attempts, task=task)


def report(jobs=(), effects=(), *, expected=None, acknowledged=(), rolled_back=(), batches=None, is_own=True):
    return make_report(
        History({job.id: job for job in jobs}, {}, effects, batches or {}),
        Submissions(expected or {}, set(acknowledged), set(rolled_back)),
        Bought(),
        [],
        injected={},
        kills=0,
        is_own=is_own,
    )


EFFECT = Effect(ID, "effect", 2, 2)


def test_run_in_which_all_went_well_is_clean():
    found = report([job()], [EFFECT], expected={ID: "completed"}, acknowledged=[ID])
    assert found.is_clean
    assert found.as_json()["clean"]


@pytest.mark.parametrize(
    ("defect", "arguments"),
    [
        ("lost", {"expected": {ID: None, OTHER: None}}),
        ("lost", {"expected": {ID: None}, "acknowledged": [OTHER]}),
        ("never submitted", {"expected": {}}),
        ("never submitted", {"expected": {ID: None}, "rolled_back": [ID]}),
        ("ended otherwise than they should", {"expected": {ID: "failed"}}),
        ("effects missing", {"expected": {ID: None}, "effects": []}),
        ("effects doubled", {"expected": {ID: None}, "effects": [EFFECT, EFFECT]}),
    ],
)
def test_what_must_not_happen_is_counted(defect, arguments):
    found = report(**{"jobs": [job()], "effects": [EFFECT]} | arguments)
    assert found.defects[defect] == 1
    assert not found.is_clean


TICK = replace(job(THIRD, task="tick"), tick=at(0))
PART = replace(job(OTHER, task="part"), parent_id=ID, args={"number": 0})
FORSAKEN = replace(job(OTHER, JobStatus.CANCELLED, task="forsaken"), parent_id=ID, args={"number": 0})


def test_job_of_a_tick_and_jobs_that_others_spawned_need_no_submit():
    grandchild = replace(job(UUID(int=4)), parent_id=OTHER)
    assert report([job(), PART, grandchild, TICK], expected={ID: None}, is_own=False).is_clean


@pytest.mark.parametrize(
    ("defect", "arguments"),
    [
        pytest.param("never submitted", {"jobs": [job(), replace(TICK, tick=None)]}, id="no tick"),
        pytest.param("never submitted", {"jobs": [job(), replace(PART, parent_id=THIRD)]}, id="no parent"),
        pytest.param(
            "effects missing", {"jobs": [job(), TICK], "effects": [EFFECT]}, id="a tick without its effect"
        ),
        pytest.param(
            "ticks lost or doubled", {"jobs": [job(), TICK, replace(TICK, id=OTHER)]}, id="a tick twice"
        ),
        pytest.param("batches torn", {"batches": {THIRD: 5}}, id="a batch without its jobs"),
        pytest.param("children lost or doubled", {"jobs": [job(task="family")]}, id="no children"),
        pytest.param(
            "ended otherwise than they should",
            {"jobs": [job(), replace(PART, status=JobStatus.FAILED)]},
            id="a child that failed",
        ),
        pytest.param(
            "ended otherwise than they should",
            {"jobs": [job(), replace(FORSAKEN, status=JobStatus.COMPLETED)]},
            id="a forsaken child that was not cancelled",
        ),
        pytest.param(
            "stuck",
            {"jobs": [job(), replace(FORSAKEN, status=JobStatus.QUEUED)]},
            id="a forsaken child that was left behind",
        ),
    ],
)
def test_what_must_not_happen_to_children_batches_and_ticks_is_counted(defect, arguments):
    effects = [replace(EFFECT, job_id=job_id) for job_id in (ID, OTHER, THIRD)]
    found = report(**{"jobs": [job()], "effects": effects, "expected": {ID: None}} | arguments)
    assert found.defects[defect] == 1
    assert not found.is_clean


@pytest.mark.parametrize(
    ("blow", "seconds"),
    [
        pytest.param(Blow(at(2), WORKER), [3.0], id="its worker"),
        pytest.param(Blow(at(2), WORKER, CHILD), [3.0], id="its process"),
        pytest.param(Blow(at(2), WORKER, 102), [], id="another process of its worker"),
        pytest.param(Blow(at(2), 10), [], id="another worker"),
        pytest.param(Blow(at(0.5), WORKER), [], id="before it began"),
        pytest.param(Blow(at(4.5), WORKER), [], id="after it had ended"),
    ],
)
def test_recovery_runs_from_the_blow_to_the_next_attempt(blow, seconds):
    assert [each.seconds for each in recoveries({ID: job()}, [blow], [])] == seconds


def test_recovery_tells_when_the_loss_was_noticed():
    (found,) = recoveries({ID: job()}, [Blow(at(1.5), WORKER)], [])
    assert (found.noticed_seconds, found.seconds) == (2.5, 3.5)


def test_recovery_during_an_outage_is_told_apart():
    blows = [Blow(at(2), WORKER)]
    (during,) = recoveries({ID: job()}, blows, [Outage(at(1), at(3))])
    (afterwards,) = recoveries({ID: job()}, blows, [Outage(at(0), at(1.5)), Outage(at(5.5))])
    assert not during.is_undisturbed
    assert afterwards.is_undisturbed


def test_quantile_is_a_value_that_was_measured():
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([], 0.5) is None
