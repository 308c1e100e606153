"""When a worker's consumer is taken for broken, and when it is only idle, busy, or without its broker."""

import os
import signal
from types import SimpleNamespace

import pytest
from celery.worker import state

from holdfast.celery.carrier import CeleryCarrier
from holdfast.celery.liveness import DOUBT_SECONDS, IDLE_SECONDS, KILL_SECONDS, STANDING_SECONDS, Consumption
from holdfast.errors import CarrierUnavailable
from holdfast.jobs import queues


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sent_signals(monkeypatch):
    """The signals that this process would have sent to itself."""
    sent = []
    kill = os.kill
    monkeypatch.setattr(
        os, "kill", lambda pid, number: sent.append(number) if pid == os.getpid() else kill(pid, number)
    )
    return sent


@pytest.fixture
def watch(clock):
    """A consumer's watch, and what a worker with two free slots looks like to it."""

    def make(application):
        consumption = Consumption(CeleryCarrier(application.celery), application.database, clock)
        application.celery.amqp.queues.select(["default"])
        consumption.begin(SimpleNamespace(app=application.celery, pool=SimpleNamespace(num_processes=2)))
        return consumption

    return make


@pytest.fixture
def consumption(application, watch, sent_signals):
    return watch(application)


@pytest.fixture
def look_for(clock):
    """Look every other second while the loop turns, for so long."""

    def look_for(consumption, seconds, *, turning=True):
        for _ in range(int(seconds / 2) + 1):
            clock.now += 2
            if turning:
                consumption.turn()
            consumption.look()

    return look_for


@pytest.fixture
def busy():
    """Two messages that the worker has and is not done with."""

    class Request: ...

    requests = [Request(), Request()]
    state.reserved_requests.update(requests)
    yield
    state.reserved_requests.clear()


def test_worker_that_takes_nothing_ends(consumption, enqueue, look_for, sent_signals):
    enqueue()
    look_for(consumption, DOUBT_SECONDS + 2)
    assert not consumption.is_well
    assert sent_signals == []
    look_for(consumption, IDLE_SECONDS)
    assert sent_signals == [signal.SIGTERM]
    look_for(consumption, KILL_SECONDS * 2)
    assert sent_signals == [signal.SIGTERM]  # its loop turns, so that it can end


def test_worker_whose_loop_stands_is_ended_by_force(consumption, look_for, sent_signals):
    look_for(consumption, DOUBT_SECONDS + 2, turning=False)
    assert not consumption.is_well
    look_for(consumption, STANDING_SECONDS, turning=False)
    assert sent_signals == [signal.SIGTERM]
    look_for(consumption, KILL_SECONDS, turning=False)
    assert set(sent_signals[1:]) == {signal.SIGKILL}


def test_idle_worker_is_well(consumption, look_for, sent_signals):
    look_for(consumption, IDLE_SECONDS * 3)
    assert consumption.is_well
    assert sent_signals == []


def test_worker_that_takes_one_now_and_then_is_well(consumption, enqueue, look_for, sent_signals):
    enqueue()
    for _ in range(4):
        look_for(consumption, IDLE_SECONDS - 4)
        consumption.receive()
        look_for(consumption, 0)
    assert consumption.is_well
    assert sent_signals == []


def test_busy_worker_is_well_even_if_its_loop_stands(consumption, enqueue, look_for, sent_signals, busy):
    enqueue()
    look_for(consumption, STANDING_SECONDS * 2, turning=False)
    assert consumption.is_well
    assert sent_signals == []


def test_worker_of_a_paused_queue_is_well(consumption, enqueue, look_for, sent_signals, session):
    enqueue()
    queues.pause(session, "default")
    session.commit()
    look_for(consumption, IDLE_SECONDS * 2)
    assert consumption.is_well
    assert sent_signals == []


def test_worker_that_is_not_connected_is_not_well_and_does_not_end(
    consumption, enqueue, look_for, sent_signals
):
    enqueue()
    consumption.end()
    look_for(consumption, STANDING_SECONDS * 2, turning=False)
    assert not consumption.is_well
    assert sent_signals == []


def test_worker_does_not_end_while_the_broker_is_away(make_holdfast, watch, clock, sent_signals, valkey):
    application = make_holdfast(redis_url=valkey.start().redis_url)
    consumption = watch(application)
    valkey.stop()
    for _ in range(3):
        clock.now += IDLE_SECONDS
        consumption.turn()
        with pytest.raises(CarrierUnavailable):
            consumption.look()
    assert not consumption.is_well
    assert sent_signals == []

    valkey.start()
    consumption.turn()
    consumption.look()
    assert consumption.is_well


def test_worker_that_shuts_down_is_left_alone(consumption, enqueue, look_for, sent_signals, monkeypatch):
    enqueue()
    monkeypatch.setattr(state, "should_stop", 0)
    look_for(consumption, IDLE_SECONDS * 2)
    assert not consumption.is_well
    assert sent_signals == []
