"""Submissions a second, side by side with a bare FastAPI endpoint that notes the same work down.

Servers, client and turns as in `status`; in process, the two sides are taken in turns as well. No worker
takes part: messages are thrown away as they come, so that each job is published as it would be.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import httpx
import redis
from sqlalchemy import insert

from benchmarks.bare_app import Arguments, Base, Submitted, rows_of
from benchmarks.bed import Bed, Served, bed
from benchmarks.figures import Figures, Size, ranged, spread
from benchmarks.load import client_name, load
from benchmarks.processes import cpu_seconds
from benchmarks.submitted_app import note
from holdfast import Task

ROUNDS = {"full": 9, "quick": 2}
SECONDS = {"full": 4, "quick": 1}
LONE = {"full": 300, "quick": 30}
CONNECTIONS = (1, 32)
BULK = 10_000
BULK_OVER_HTTP = 1_000
GOAL = "at least 0.8"
BULK_GOAL = "at least 20,000"
ARGUMENTS = {"document_id": "01997a5e-8f2a-7d10-8a34-3f0c9b1d2e4f", "wall": 3, "colours": ["red", "blue"]}
ASKED = json.dumps({"task": "note", "args": ARGUMENTS})

Submit = Callable[[], int]
"""Submit some jobs, and say how many."""


def main(size: Size) -> Figures:
    figures = Figures()
    figures.data = {"client": client_name(), "bulk": BULK, "bulk over HTTP": BULK_OVER_HTTP}
    with bed() as own, _thrown_away(own):
        Base.metadata.create_all(own.holdfast.database.engine)
        task = own.holdfast.task(note, exposed=True)
        api = own.serve("api", "benchmarks.submitted_app:app", ready="/readyz")
        bare = own.serve("bare", "benchmarks.bare_app:app")
        for connections in CONNECTIONS:
            _over_http(own, api, bare, connections, size, figures)
        with httpx.Client(timeout=60) as client:
            ways = {"holdfast": _batch(client, api, own.token), "bare": _many(client, bare)}
            _compare(f"{BULK_OVER_HTTP:,} jobs in one request", ways, 5, size, figures)
        ways = {"holdfast": lambda: _enqueue(own, task), "bare": lambda: _add(own)}
        _compare("one job at a time, in process", ways, LONE[size], size, figures)
        ways = {"holdfast": lambda: _enqueue_many(own, task), "bare": lambda: _insert_many(own)}
        _compare(f"{BULK:,} jobs in one call, in process", ways, 1, size, figures, BULK_GOAL)
    return figures


def _over_http(own: Bed, api: Served, bare: Served, connections: int, size: Size, figures: Figures) -> None:
    targets: dict[str, tuple[Served, str, dict[str, str]]] = {
        "holdfast": (api, "/v1/jobs", {"X-API-Key": own.token}),
        "bare": (bare, "/bare", {}),
        "usual": (bare, "/usual", {}),
    }
    rounds = []
    for number in range(-1, ROUNDS[size]):
        names = _turned(list(targets), number)
        rounds.append({name: _loaded(own, *targets[name], connections, SECONDS[size]) for name in names})
    name = f"one job at a time, {connections} connection{'s' * (connections > 1)}"
    _show(name, rounds[1:], figures, GOAL)
    for target in targets:
        latency = [each[target]["p50_ms"] for each in rounds[1:]]
        tail = [each[target]["p99_ms"] for each in rounds[1:]]
        figures.show(f"{name}: ms, {target}", f"p50 {ranged(latency)}, p99 {ranged(tail)}")


def _loaded(
    own: Bed, server: Served, path: str, headers: dict[str, str], connections: int, seconds: float
) -> dict[str, float]:
    paths = own.folder / f"submit-{path.replace('/', '-')}"
    paths.write_text(path + "\n")
    before = cpu_seconds(server.pid)
    shown = load(server.url, paths, headers, connections=connections, seconds=seconds, body=ASKED)
    if shown.errors:
        raise RuntimeError(f"{path}: {shown.errors} requests failed.")
    used = cpu_seconds(server.pid) - before
    return {name: round(value, 3) for name, value in asdict(shown).items()} | {
        "server_cpu_ms": round(used / shown.requests * 1000, 3)
    }


def _compare(
    name: str, ways: dict[str, Submit], times: int, size: Size, figures: Figures, goal: str = ""
) -> None:
    turns = [_turned(list(ways), number) for number in range(-1, ROUNDS[size])]
    rounds = [{way: _timed(ways[way], times) for way in turn} for turn in turns]
    _show(name, rounds[1:], figures, own_goal=goal)
    for way in ways:
        facts = spread([one for each in rounds[1:] for one in each[way]["each_ms"]])
        figures.show(f"{name}: ms, {way}", f"p50 {facts['median']:.2f}, p99 {facts['p99']:.2f}")


def _timed(submit: Submit, times: int) -> dict[str, Any]:
    each: list[float] = []
    jobs = 0
    for _ in range(times):
        started = time.perf_counter()
        jobs += submit()
        each.append((time.perf_counter() - started) * 1000)
    return {"rate": round(jobs / sum(each) * 1000, 1), "each_ms": [round(one, 3) for one in each]}


def _show(
    name: str, rounds: list[dict[str, Any]], figures: Figures, goal: str = "", own_goal: str = ""
) -> None:
    figures.data[name] = rounds
    mine = [each["holdfast"]["rate"] for each in rounds]
    figures.show(f"{name}: jobs a second, Holdfast", ranged(mine, 0), own_goal)
    for other in [each for each in rounds[0] if each != "holdfast"]:
        theirs = [each[other]["rate"] for each in rounds]
        figures.show(f"{name}: jobs a second, {other}", ranged(theirs, 0))
        ratios = [own / their for own, their in zip(mine, theirs, strict=True)]
        figures.show(f"{name}: Holdfast to {other}", ranged(ratios), goal if other == "bare" else "")


def _turned(names: list[str], number: int) -> list[str]:
    turn = number % len(names)
    return names[turn:] + names[:turn]


def _enqueue(own: Bed, task: Task[..., Any]) -> int:
    with own.holdfast.database.transaction() as session:
        task.enqueue(session, owner=own.owner.id, **ARGUMENTS)
    return 1


def _add(own: Bed) -> int:
    with own.holdfast.database.transaction() as session:
        args = Arguments.model_validate(ARGUMENTS).model_dump(mode="json")
        session.add(Submitted(task="note", args=args))
    return 1


def _enqueue_many(own: Bed, task: Task[..., Any]) -> int:
    with own.holdfast.database.transaction() as session:
        return task.enqueue_many(session, [ARGUMENTS] * BULK, owner=own.owner.id).total


def _insert_many(own: Bed) -> int:
    rows = rows_of("note", [Arguments.model_validate(ARGUMENTS) for _ in range(BULK)])
    with own.holdfast.database.engine.begin() as connection:
        connection.execute(insert(Submitted), rows)
    return len(rows)


def _batch(client: httpx.Client, server: Served, token: str) -> Submit:
    content = json.dumps({"task": "note", "jobs": [{"args": ARGUMENTS}] * BULK_OVER_HTTP})
    headers = {"X-API-Key": token, "Content-Type": "application/json"}
    return lambda: _posted(client, f"{server.url}/v1/batches", content, headers)


def _many(client: httpx.Client, server: Served) -> Submit:
    content = json.dumps({"task": "note", "jobs": [ARGUMENTS] * BULK_OVER_HTTP})
    return lambda: _posted(client, f"{server.url}/bare/many", content, {"Content-Type": "application/json"})


def _posted(client: httpx.Client, url: str, content: str, headers: dict[str, str]) -> int:
    answer = client.post(url, content=content, headers=headers).raise_for_status().json()
    return len(answer["job_ids"])


@contextmanager
def _thrown_away(own: Bed) -> Iterator[None]:
    """Empty the queues all the time, as a worker would that costs nothing."""
    is_over = threading.Event()

    def throw_away() -> None:
        with redis.Redis.from_url(str(own.urls.redis_url)) as valkey:
            while not is_over.wait(0.2):
                for queue in list(valkey.scan_iter(count=1000, _type="LIST")):
                    valkey.delete(queue)

    thread = threading.Thread(target=throw_away)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
