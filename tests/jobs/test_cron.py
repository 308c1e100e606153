"""Which ticks a cron expression has; daylight saving neither loses nor doubles one."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.errors import ConfigurationError
from holdfast.jobs.cron import Cron

PARIS = "Europe/Paris"
LORD_HOWE = "Australia/Lord_Howe"
EXPRESSIONS = ["30 2 * * *", "0 3 * * *", "*/20 2 * * *", "15,45 1-3 * * *", "0 * * * *", "30 2 * * SUN"]


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(cron, start, end):
    """Every tick after `start` and until `end`, one by one."""
    found = []
    tick = cron.next_tick(start)
    while tick <= end:
        found.append(tick)
        tick = cron.next_tick(tick)
    return found


def in_paris(found):
    return [f"{tick.astimezone(ZoneInfo(PARIS)):%d. %H:%M%z}" for tick in found]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("61 * * * *",), "Bad minute"),
        (("never",), "five fields"),
        (("* * * * * *",), "five fields"),
        (("@daily",), "five fields"),
        (("",), "five fields"),
        (("0 0 30 2 *",), "Bad day-of-month"),
        (("0 0 * 2 MON#0",), "Bad day-of-week"),
        (("0 3 * * *", "Europe/Atlantis"), "Europe/Atlantis"),
        (("0 3 * * *", ""), "timezone ''"),
        (("0 3 * * *", "Europe"), "timezone 'Europe'"),
        (("0 3 * * *", "../../etc/passwd"), "no timezone"),
        (("0 3 * * *", "UTC", "sometimes"), "latest, all, skip"),
    ],
)
def test_what_cannot_be_read_is_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Cron(*arguments)


def test_ticks_follow_the_time_zone():
    cron = Cron("0 3 * * *", PARIS)

    assert cron.next_tick(at("2026-01-10 12:00")) == at("2026-01-11 02:00")
    assert cron.next_tick(at("2026-07-10 12:00")) == at("2026-07-11 01:00")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param(
            "30 2 * * *", ["28. 02:30+0100", "29. 03:00+0200", "30. 02:30+0200"], id="made up after the gap"
        ),
        pytest.param(
            "0 2,3 * * *",
            ["28. 02:00+0100", "28. 03:00+0100", "29. 03:00+0200", "30. 02:00+0200", "30. 03:00+0200"],
            id="not beside the tick that stands there",
        ),
        pytest.param("*/30 2 29 * *", [], id="not where minutes are counted"),
    ],
)
def test_time_that_does_not_exist(expression, expected):
    found = ticks(Cron(expression, PARIS), at("2026-03-27 23:00"), at("2026-03-30 12:00"))

    assert in_paris(found) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param(
            "30 2 * * *", ["24. 02:30+0200", "25. 02:30+0200", "26. 02:30+0100"], id="the first time only"
        ),
        pytest.param(
            "*/30 2 25 * *",
            ["25. 02:00+0200", "25. 02:30+0200", "25. 02:00+0100", "25. 02:30+0100"],
            id="counted minutes go on",
        ),
    ],
)
def test_time_that_exists_twice(expression, expected):
    found = ticks(Cron(expression, PARIS), at("2026-10-23 23:00"), at("2026-10-26 12:00"))

    assert in_paris(found) == expected


@pytest.mark.parametrize(
    ("expression", "zone", "day"),
    [
        pytest.param("*/20 2 * * *", LORD_HOWE, "2026-04-05", id="clock put back by half an hour"),
        pytest.param("45 * * * *", LORD_HOWE, "2026-04-05", id="half an hour that comes twice"),
        pytest.param("*/20 3 * * *", LORD_HOWE, "2026-10-04", id="clock put forward by half an hour"),
        pytest.param("*/20 0 6 9 *", "America/Santiago", "2026-09-06", id="midnight that does not exist"),
        pytest.param("*/20 23 * * *", "America/Santiago", "2026-04-04", id="hour before midnight twice"),
    ],
)
def test_counted_minutes_are_those_that_a_clock_on_the_wall_shows(expression, zone, day):
    start = at(day) - timedelta(days=1)
    minutes = (start + timedelta(minutes=minute) for minute in range(1, 3 * 24 * 60))
    shown = [minute for minute in minutes if shows(minute.astimezone(ZoneInfo(zone)), expression)]

    assert ticks(Cron(expression, zone), start, start + timedelta(days=3)) == shown


def shows(time, expression):
    """Whether this time matches an expression of lists and steps, read without a library."""
    fields = zip((time.minute, time.hour, time.day, time.month), expression.split(), strict=False)
    return all(
        field == "*" or value % int(field[2:]) == 0 if field.startswith("*") else value == int(field)
        for value, field in fields
    )


def test_schedule_that_begins_while_a_time_exists_for_the_second_time_does_not_run_it_again():
    cron = Cron("30 2 * * *", PARIS)

    assert cron.next_tick(at("2026-10-25 01:10")) == at("2026-10-26 01:30")


def test_latest_makes_up_for_the_last_missed_tick_only():
    cron = Cron("0 * * * *")

    assert cron.due_ticks(at("2026-05-01 00:00"), at("2026-05-03 10:20")) == [at("2026-05-03 10:00")]


def test_all_makes_up_for_each_missed_tick_up_to_the_newest_thousand():
    cron = Cron("0 * * * *", missed="all")

    day = cron.due_ticks(at("2026-05-01 00:00"), at("2026-05-01 23:59"))
    assert day == [at("2026-05-01 00:00") + timedelta(hours=hour) for hour in range(1, 24)]
    year = cron.due_ticks(at("2025-05-01 00:00"), at("2026-05-01 00:00"))
    assert (len(year), year[-1]) == (1_000, at("2026-05-01 00:00"))


def test_skip_makes_up_for_nothing_older_than_a_minute():
    cron = Cron("0 * * * *", missed="skip")

    assert cron.due_ticks(at("2026-05-01 00:00"), at("2026-05-03 10:02")) == []
    assert cron.due_ticks(at("2026-05-01 00:00"), at("2026-05-03 10:00:30")) == [at("2026-05-03 10:00")]


def test_tick_of_a_rare_schedule_is_found_after_years():
    cron = Cron("0 0 29 2 *")

    assert cron.due_ticks(at("2019-01-01 00:00"), at("2027-06-01 00:00")) == [at("2024-02-29 00:00")]


@settings(max_examples=200, deadline=None)
@given(
    expression=st.sampled_from(EXPRESSIONS),
    zone=st.sampled_from([PARIS, "America/Santiago", LORD_HOWE, "UTC"]),
    # Around the changes of the clock in these zones in 2026.
    day=st.sampled_from(["2026-03-28", "2026-10-24", "2026-04-04", "2026-09-05", "2026-10-03"]),
    minute=st.integers(0, 3 * 24 * 60),
    length=st.integers(0, 26 * 60),
)
# From afar, `cronsim` leaps over 02:00 and 02:20 after the half hour that comes twice.
@example("*/20 2 * * *", LORD_HOWE, "2026-04-04", 930, 20)
def test_newest_ticks_are_the_last_of_all(expression, zone, day, minute, length):
    cron = Cron(expression, zone, "all")
    start = at(day) + timedelta(minutes=minute)
    end = start + timedelta(minutes=length)
    whole = ticks(cron, at(day) - timedelta(days=8), end)

    assert cron.due_ticks(start, end) == [tick for tick in whole if tick > start]
    assert Cron(expression, zone).due_ticks(at(day) - timedelta(days=8), end) == whole[-1:]
    assert sorted(set(whole)) == whole
