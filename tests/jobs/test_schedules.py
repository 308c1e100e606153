"""Each tick of a schedule makes one job: whoever looks, whoever dies, whatever clock a worker has."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, select, text, update

import holdfast.chaos
import scheduled_tasks
from holdfast import Holdfast, JobContext
from holdfast.errors import ConfigurationError
from holdfast.jobs.models import Job, Schedule
from holdfast.jobs.schedules import Scheduler, list_schedules
from waiting import wait_for

HOURLY = "0 * * * *"
# Where Python finds the `sitecustomize` that moves a process's clock.
SKEWED = Path(holdfast.chaos.__file__).with_name("skewed")


@pytest.fixture
def scheduled(holdfast):
    """An application with one task that is run every hour."""

    @holdfast.task(name="report", cron=HOURLY)
    def report(job: JobContext, to: str = "everybody") -> str:
        return to

    return holdfast


def scheduler(application):
    """A scheduler as another worker has one."""
    return Scheduler(application.database, application.tasks)


def begin(application):
    """Let a first scheduler note the schedules."""
    assert scheduler(application).round() == 0


def let_pass(session, length, task="report"):
    """Let time pass since the schedule was last looked at."""
    session.execute(
        update(Schedule).where(Schedule.task == task).values(last_tick_at=Schedule.last_tick_at - length)
    )
    session.commit()


def ticks(session, task="report"):
    """The ticks that jobs were made for, earliest first."""
    session.rollback()
    made = session.scalars(select(Job.metadata_["tick"].as_string()).where(Job.task == task).order_by(Job.id))
    return [datetime.fromisoformat(tick) for tick in made]


def last_hour(session):
    return session.execute(text("SELECT date_trunc('hour', clock_timestamp())")).scalar_one()


def test_schedule_starts_from_now(scheduled, session):
    begin(scheduled)

    assert scheduler(scheduled).round() == 0
    assert ticks(session) == []


def test_tick_makes_one_job_that_tells_its_time(scheduled, session):
    begin(scheduled)
    let_pass(session, timedelta(hours=1))
    one = scheduler(scheduled)

    assert one.round() == 1
    assert (one.round(), scheduler(scheduled).round()) == (0, 0)
    assert ticks(session) == [last_hour(session)]
    job = session.scalars(select(Job)).one()
    assert (job.args, job.owner_id, job.queue, job.status) == ({}, None, "default", "queued")


def test_task_sees_the_tick_it_was_made_for(holdfast, session):
    seen = []

    @holdfast.task(cron=HOURLY)
    def look(job: JobContext) -> None:
        seen.append(job.tick)

    begin(holdfast)
    let_pass(session, timedelta(hours=1), "look")
    scheduler(holdfast).round()
    job_id = session.scalars(select(Job.id)).one()
    holdfast._parts.runner.run(look, job_id, holdfast._identity())
    look.enqueue(session)
    session.commit()
    own_id = session.scalars(select(Job.id).where(Job.id != job_id)).one()
    holdfast._parts.runner.run(look, own_id, holdfast._identity())

    assert seen == [last_hour(session), None]


@pytest.mark.parametrize(("missed", "count"), [("latest", 1), ("all", 5), ("skip", 0)])
def test_missed_ticks_are_made_up_for_as_asked(holdfast, session, missed, count):
    # Half past, so that the latest tick is not of this minute.
    minute = (session.execute(text("SELECT extract(minute FROM now())")).scalar_one() + 30) % 60

    @holdfast.task(name="report", cron=f"{minute:.0f} * * * *", missed=missed)
    def report(job: JobContext) -> None: ...

    begin(holdfast)
    let_pass(session, timedelta(hours=5))

    assert scheduler(holdfast).round() == count
    assert scheduler(holdfast).round() == 0
    assert ticks(session) == sorted(ticks(session))


def test_many_schedulers_at_once_make_each_job_once(holdfast, session):
    @holdfast.task(name="report", cron="* * * * *", missed="all")
    def report(job: JobContext) -> None: ...

    begin(holdfast)
    let_pass(session, timedelta(minutes=30))
    with ThreadPoolExecutor(5) as pool:
        made = sum(pool.map(lambda _: scheduler(holdfast).round(), range(5)))

    found = ticks(session)
    assert made == len(found) == len(set(found)) >= 30


def test_scheduler_that_dies_in_between_leaves_the_rest_to_the_next(holdfast, session):
    @holdfast.task(name="report", cron=HOURLY, missed="all")
    def report(job: JobContext) -> None: ...

    begin(holdfast)
    let_pass(session, timedelta(hours=5))

    class Killed(BaseException):
        pass

    def kill(connection, cursor, statement, *_):
        # After the schedule was advanced and before its job is there, the third time.
        if statement.startswith("INSERT INTO holdfast.jobs") and len(ticks(session)) == 2:
            raise Killed

    event.listen(holdfast.database.engine, "before_cursor_execute", kill)
    with pytest.raises(Killed):
        scheduler(holdfast).round()
    event.remove(holdfast.database.engine, "before_cursor_execute", kill)
    begun = ticks(session)

    assert (len(begun), scheduler(holdfast).round()) == (2, 3)
    assert ticks(session) == [last_hour(session) - timedelta(hours=hours) for hours in (4, 3, 2, 1, 0)]


def test_tick_makes_no_second_job_when_the_note_of_it_is_lost(scheduled, session):
    begin(scheduled)
    let_pass(session, timedelta(hours=1))
    assert scheduler(scheduled).round() == 1
    let_pass(session, timedelta(hours=1))

    assert scheduler(scheduled).round() == 0
    assert len(ticks(session)) == 1


def test_changed_schedule_starts_from_now(scheduled, session, settings):
    begin(scheduled)
    let_pass(session, timedelta(hours=5))
    changed = Holdfast(settings)

    @changed.task(name="report", cron="*/5 * * * *")
    def report(job: JobContext) -> None: ...

    assert scheduler(changed).round() == 0
    session.rollback()
    row = session.get(Schedule, "report")
    assert row.cron == "*/5 * * * *"
    assert row.last_tick_at > datetime.now(UTC) - timedelta(minutes=1)
    changed.database.close()


def test_versions_that_run_side_by_side_leave_each_others_ticks_alone(scheduled, session, settings):
    """As in a rolling deployment: neither starts the other's schedule over again and again."""
    changed = Holdfast(settings)

    @changed.task(name="report", cron="30 * * * *")
    def report(job: JobContext) -> None: ...

    older, newer = scheduler(scheduled), scheduler(changed)
    older.round()
    newer.round()
    let_pass(session, timedelta(hours=1))
    older._next_look = newer._next_look = 0.0

    assert older.round() + newer.round() >= 1
    session.rollback()
    assert session.get(Schedule, "report").cron == "30 * * * *"
    changed.database.close()


def test_round_costs_nothing_until_the_next_look(scheduled):
    statements = []
    event.listen(scheduled.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    one = scheduler(scheduled)
    one.round()
    first = len(statements)
    one.round()

    assert first > 0
    assert len(statements) == first


def test_round_without_schedules_asks_nobody(settings):
    changes = {"database_url": "postgresql://nobody@127.0.0.1:1/x", "retention_days": 0}
    unreachable = Holdfast(settings.model_copy(update=changes))

    @unreachable.task
    def plain(job: JobContext) -> None: ...

    assert scheduler(unreachable).round() == 0


def test_listing_tells_last_and_next_tick(scheduled, session):
    def listed():
        return next(view for view in list_schedules(session, scheduled.tasks) if view.task == "report")

    assert listed().last_tick_at is None
    begin(scheduled)
    session.rollback()
    assert listed().last_tick_at is None
    let_pass(session, timedelta(hours=1))
    scheduler(scheduled).round()
    session.rollback()

    hour = last_hour(session)
    assert (listed().last_tick_at, listed().next_tick_at) == (hour, hour + timedelta(hours=1))
    assert (listed().cron, listed().timezone) == (HOURLY, "UTC")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"cron": HOURLY, "timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"timezone": "Europe/Paris"}, "there is none"),
        ({"missed": "all"}, "there is none"),
    ],
)
def test_schedule_that_cannot_be_is_refused_at_registration(holdfast, keywords, message):
    with pytest.raises(ConfigurationError, match=message):
        holdfast.task(name="report", **keywords)(lambda job: None)


def test_task_with_a_required_argument_cannot_be_scheduled(holdfast):
    def report(job: JobContext, to: str, style: str = "short") -> None: ...

    with pytest.raises(ConfigurationError, match="report is run by cron, so to must have a default"):
        holdfast.task(cron=HOURLY)(report)


PROGRAM = """
from datetime import datetime
from holdfast import Holdfast, JobContext
from holdfast.jobs.schedules import Scheduler

app = Holdfast()

@app.task(name="report", cron="0 * * * *")
def report(job: JobContext) -> None: ...

print(datetime.now().astimezone().isoformat(), Scheduler(app.database, app.tasks).round())
"""


@pytest.mark.parametrize("hours", [-1, 1])
def test_clock_of_a_worker_that_is_wrong_changes_no_tick(scheduled, session, environment, hours):
    begin(scheduled)
    let_pass(session, timedelta(hours=1))
    variables = environment | {
        "PYTHONPATH": str(SKEWED),
        "HOLDFAST_CHAOS_CLOCK_SECONDS": str(hours * 3600),
        "HOLDFAST_RETENTION_DAYS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, check=True
    )

    moment, made = done.stdout.split()
    wrong = datetime.fromisoformat(moment) - datetime.now(UTC)
    assert abs(wrong - timedelta(hours=hours)) < timedelta(minutes=10)
    assert made == "1"
    assert ticks(session) == [last_hour(session)]
    assert scheduler(scheduled).round() == 0


def test_real_workers_run_each_tick_once_while_one_is_killed(start_worker, holdfast, session):
    hours = 150
    holdfast.task(cron=HOURLY, missed="all")(scheduled_tasks.report.function)
    begin(holdfast)
    let_pass(session, timedelta(hours=hours))
    workers = [start_worker(app="scheduled_tasks", concurrency=1) for _ in range(2)]
    wait_for(lambda: len(ticks(session)) > 10, "the first ticks")
    workers[0].kill()

    def completed():
        session.rollback()
        return session.execute(select(Job.result, Job.metadata_).where(Job.status == "completed")).all()

    wait_for(lambda: len(completed()) == hours, "all ticks", 60)
    assert ticks(session) == [last_hour(session) - timedelta(hours=hour) for hour in reversed(range(hours))]
    assert all(job.result == job.metadata_["tick"] for job in completed())
