"""Interrupting a function from another thread: it comes out of the call, or not at all."""

import gc
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from holdfast.jobs.ending.interruption import InterruptibleCall, Interruption
from waiting import wait_for


class Thread:
    """A call in a thread of its own, as a pool of threads makes it."""

    def __init__(self, function):
        self.call = InterruptibleCall()
        self.begun = threading.Event()
        self.ended = []
        self._thread = threading.Thread(target=self._run, args=(function,))
        self._thread.start()
        assert self.begun.wait(30)

    def _run(self, function):
        def begin():
            self.begun.set()
            return function()

        try:
            self.ended.append(self.call.run(begin))
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to
            self.ended.append(error)

    def join(self):
        self._thread.join(30)
        return self.ended[0]


def spin(seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_function_is_left_and_cleans_up():
    cleaned = []

    def work():
        try:
            spin()
        finally:
            cleaned.append(1)

    thread = Thread(work)
    thread.call.interrupt()
    assert isinstance(thread.join(), Interruption)
    assert cleaned == [1]


def test_handlers_of_ordinary_errors_let_it_pass():
    def work():
        while True:
            try:
                spin()
            except Exception:  # noqa: BLE001 - as users write it
                continue

    thread = Thread(work)
    thread.call.interrupt()
    assert isinstance(thread.join(), Interruption)


def test_function_that_swallows_it_is_not_interrupted_again():
    swallowed = threading.Event()

    def work():
        try:
            spin()
        except Interruption:
            swallowed.set()
        spin(0.2)
        return "on my own"

    thread = Thread(work)
    thread.call.interrupt()
    assert swallowed.wait(30)
    thread.call.interrupt()
    assert thread.join() == "on my own"


def test_function_that_is_not_running_is_not_interrupted():
    call = InterruptibleCall()
    call.interrupt()
    assert call.run(lambda: 1) == 1
    call.interrupt()
    spin(0.05)
    assert call.stack() == ""


def test_nothing_comes_out_of_a_call_that_has_ended():
    """However close the end and the interruption are: what follows the call is never hit."""
    made, hits, outside = [], [], []

    def call_many():
        while len(hits) < 200 and len(made) < 100_000:
            made.append(call := InterruptibleCall())
            try:
                call.run(lambda: sum(range(100)))
            except Interruption:
                hits.append(1)
            try:
                sum(range(100))
            except Interruption:
                outside.append(1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    # What other tests have left would be collected here, and its callbacks would swallow an interruption.
    gc.disable()
    try:
        worker = threading.Thread(target=call_many)
        worker.start()
        while worker.is_alive():
            for call in made[-1:]:
                call.interrupt()
    finally:
        gc.enable()
        sys.setswitchinterval(interval)
    assert hits, "some were interrupted"
    assert not outside


@pytest.fixture
def busy_log():
    """A log whose every line is written to a file, during which its thread lets go of the interpreter."""
    log = logging.getLogger("busy")
    log.setLevel(logging.INFO)
    log.propagate = False
    with Path(os.devnull).open("w") as nowhere:
        log.addHandler(handler := logging.StreamHandler(nowhere))
        yield log
        log.removeHandler(handler)


def test_thread_that_logs_all_the_time_is_interrupted_soon_and_keeps_no_lock(busy_log):
    is_over = threading.Event()

    def work():
        while not is_over.is_set():
            busy_log.info("on and on")
            spin(0.0005)

    calls = []
    try:
        for _ in range(20):
            thread = Thread(work)
            wait_for(lambda: calls.append(thread.call.interrupt()) or thread.ended, "its end")  # noqa: B023
    finally:
        is_over.set()
    # It needs several, where each is let in only while a line is written.
    assert len(calls) < 200
    free = threading.Thread(target=busy_log.info, args=("free",))
    free.start()
    free.join(10)
    assert not free.is_alive()


WAITS = {
    "sleep": "time.sleep(60)",
    "lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "socket": "pair = socket.socketpair(); pair[0].recv(1)",
    "process": "subprocess.run(['sleep', '60'])",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_main_thread_is_woken_from_what_it_waits_for(wait):
    program = f"""
import socket, subprocess, sys, threading, time
from holdfast.jobs.ending.interruption import InterruptibleCall, Interruption
def work():
    try:
        {wait}
    finally:
        print("cleaned")
call = InterruptibleCall()
threading.Timer(0.3, call.interrupt).start()
try:
    call.run(work)
except Interruption:
    print("left")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, timeout=20
    )
    assert done.stdout.split() == ["cleaned", "left"], done.stderr


def test_stack_tells_where_the_function_is():
    go_on = threading.Event()

    def wait_here():
        go_on.wait(30)

    thread = Thread(wait_here)
    try:
        wait_for(lambda: "wait_here" in thread.call.stack(), "the function on the stack")
    finally:
        go_on.set()
    thread.join()
