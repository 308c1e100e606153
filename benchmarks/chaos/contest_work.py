"""What a job of the contest does, the same for every contender; psycopg and the standard library, no more.

A job notes that it was begun, buys an answer, works for a while, and leaves one effect. How its row is
claimed, retried and completed is the contender's own affair.
"""

import json
import os
import random
import sys
import time
import uuid
from collections.abc import Callable
from http.client import HTTPConnection

import psycopg

WORK_SECONDS = (0.3, 1.2)
SCHEMA = """
CREATE SCHEMA contest;
CREATE TABLE contest.rows (job_id uuid PRIMARY KEY, status text NOT NULL);
CREATE TABLE contest.starts (job_id uuid, main int, process int, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE contest.effects (job_id uuid, at timestamptz DEFAULT clock_timestamp());
"""
EFFECT = "INSERT INTO contest.effects (job_id) VALUES (%s)"

_connections: dict[int, psycopg.Connection] = {}


def connected() -> psycopg.Connection:
    """This process's connection, in autocommit; a new one when the last was lost."""
    connection = _connections.get(os.getpid())
    if connection is None or connection.closed:
        url = os.environ["DATABASE_URL"].replace("postgresql+psycopg://", "postgresql://")
        connection = _connections[os.getpid()] = psycopg.connect(url, autocommit=True)
    return connection


def begin(job_id: str) -> None:
    """Note who begins the job: a child of a prefork pool, and its main process."""
    values = [job_id, os.getppid(), os.getpid()]
    connected().execute("INSERT INTO contest.starts (job_id, main, process) VALUES (%s, %s, %s)", values)


def buy(job_id: str) -> str:
    """A paid call, under a key that is the job's own."""
    call = {"job_id": job_id, "step": "buy", "attempt": 1, "key": job_id}
    connection = HTTPConnection("127.0.0.1", int(os.environ["HOLDFAST_CHAOS_PROVIDER"]), timeout=10)
    try:
        connection.request("POST", "/calls", json.dumps(call))
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def work(job_id: str) -> None:
    """Take the time that this job takes, always the same."""
    time.sleep(random.Random(job_id).uniform(*WORK_SECONDS))


def by_hand(job_id: str) -> None:
    """The whole job as it is written by hand: a row that is updated by its id, and the effect with it."""
    set_status(job_id, "processing")
    begin(job_id)
    buy(job_id)
    work(job_id)
    with connected().transaction():
        connected().execute(EFFECT, [job_id])
        set_status(job_id, "completed")


def set_status(job_id: str, status: str) -> None:
    connected().execute("UPDATE contest.rows SET status = %s WHERE job_id = %s", [status, job_id])


def submit_all(send: Callable[[str], object]) -> None:
    """Submit as the command line says, `JOBS SECONDS`, evenly: a row each, committed, and then a message."""
    jobs, seconds = int(sys.argv[1]), float(sys.argv[2])
    began = time.monotonic()
    for number in range(jobs):
        time.sleep(max(0.0, began + seconds * number / jobs - time.monotonic()))
        job_id = str(uuid.uuid4())
        connected().execute("INSERT INTO contest.rows VALUES (%s, 'queued')", [job_id])
        send(job_id)
