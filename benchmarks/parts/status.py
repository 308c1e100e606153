"""Status reads a second, side by side with a bare FastAPI endpoint that shows the same row.

Each server is one uvicorn process, and both are up all the time; one client process asks them in turns, so
that whatever else the machine does meets all of them alike. A ratio is taken within a round.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import httpx

from benchmarks.bed import Bed, Served, bed
from benchmarks.figures import Figures, Size, ranged
from benchmarks.load import Load, client_name, load
from benchmarks.processes import cpu_seconds
from holdfast.jobs.models import Job
from holdfast.live import ProgressWriter
from holdfast.states import JobStatus

JOBS = 1000
ROUNDS = {"full": 9, "quick": 2}
SECONDS = {"full": 4, "quick": 1}
CONNECTIONS = (1, 32)
GOAL = "at least 0.85"
RESULT = {
    "document_id": "01997a5e-8f2a-7d10-8a34-3f0c9b1d2e4f",
    "chunks": 120,
    "pages": 31,
    "unchanged": False,
    "superseded": False,
    "embedding_model": "hashing",
    "tokens": 0,
}


@dataclass(frozen=True)
class Target:
    """One server's way to answer, and what it is asked."""

    name: str
    server: Served
    paths: Path
    headers: dict[str, str]


def main(size: Size) -> Figures:
    figures = Figures()
    figures.data = {"client": client_name(), "jobs": JOBS}
    with bed() as own:
        completed, processing = _add_jobs(own)
        api = own.api(HOLDFAST_LOG_LEVEL="WARNING")
        bare = own.serve("bare", "benchmarks.bare_app:app")
        _check(own, api, bare, completed[0], processing[0])
        for what, ids, goal in (("status", completed, GOAL), ("status while processing", processing, "")):
            _compare(what, _targets(own, api, bare, ids), size, figures, goal)
        _compare("list of 20", _list_targets(own, api, bare), size, figures, GOAL)
    return figures


def _check(own: Bed, api: Served, bare: Served, completed: UUID, processing: UUID) -> None:
    """Before anything is measured: all servers show the same result, and Holdfast the live progress."""
    headers = {"X-API-Key": own.token}
    shown = [
        httpx.get(url, headers=headers).raise_for_status().json()["result"]
        for url in (
            f"{api.url}/v1/jobs/{completed}",
            f"{bare.url}/bare/{completed}",
            f"{bare.url}/usual/{completed}",
        )
    ]
    live = httpx.get(f"{api.url}/v1/jobs/{processing}", headers=headers).json()["progress"]
    if shown != [RESULT] * 3 or live != _progress(60):
        raise RuntimeError(f"The servers do not show what they should: {shown}, {live}")


def _compare(what: str, targets: list[Target], size: Size, figures: Figures, goal: str) -> None:
    for connections in CONNECTIONS:
        rounds = [_round(targets, connections, SECONDS[size], number) for number in range(-1, ROUNDS[size])]
        # The first round is for caches, pools and prepared statements.
        measured = rounds[1:]
        figures.data[f"{what}, {connections} connections"] = measured
        _show(f"{what}, {connections} connection{'s' * (connections > 1)}", measured, figures, goal)


def _round(targets: list[Target], connections: int, seconds: float, number: int) -> dict[str, Any]:
    """Ask every target once; each round begins with another one."""
    turn = number % len(targets)
    return {
        target.name: _measured(target, connections, seconds) for target in targets[turn:] + targets[:turn]
    }


def _measured(target: Target, connections: int, seconds: float) -> dict[str, float]:
    before = cpu_seconds(target.server.pid)
    shown: Load = load(
        target.server.url, target.paths, target.headers, connections=connections, seconds=seconds
    )
    if shown.errors:
        raise RuntimeError(f"{target.name}: {shown.errors} requests failed.")
    used = cpu_seconds(target.server.pid) - before
    return {name: round(value, 3) for name, value in asdict(shown).items()} | {
        "server_cpu": round(used / seconds, 2),
        "server_cpu_ms_per_read": round(used / shown.requests * 1000, 3),
    }


def _show(name: str, rounds: list[dict[str, Any]], figures: Figures, goal: str) -> None:
    def rates(target: str) -> list[float]:
        return [each[target]["rate"] for each in rounds]

    mine = rates("holdfast")
    figures.show(f"{name}: reads a second, Holdfast", ranged(mine, 0))
    for other in ("bare", "usual"):
        figures.show(f"{name}: reads a second, {other} endpoint", ranged(rates(other), 0))
        ratios = [own / theirs for own, theirs in zip(mine, rates(other), strict=True)]
        figures.show(f"{name}: Holdfast to {other}", ranged(ratios), goal if other == "bare" else "")
    cost = {target: median(each[target]["server_cpu_ms_per_read"] for each in rounds) for target in rounds[0]}
    told = ", ".join(f"{target} {milliseconds:.2f} ms" for target, milliseconds in cost.items())
    figures.show(f"{name}: CPU time of the server for a read", told)
    cpu = {
        kind: median(facts[kind] for each in rounds for facts in each.values())
        for kind in ("client_cpu", "server_cpu")
    }
    figures.show(
        f"{name}: share of a core", f"client {cpu['client_cpu']:.2f}, server {cpu['server_cpu']:.2f}"
    )


def _targets(own: Bed, api: Served, bare: Served, ids: list[UUID]) -> list[Target]:
    return [
        Target("holdfast", api, _paths(own, (f"/v1/jobs/{each}" for each in ids)), {"X-API-Key": own.token}),
        Target("bare", bare, _paths(own, (f"/bare/{each}" for each in ids)), {}),
        Target("usual", bare, _paths(own, (f"/usual/{each}" for each in ids)), {}),
    ]


def _list_targets(own: Bed, api: Served, bare: Served) -> list[Target]:
    owner = f"owner_id={own.owner.id}"
    return [
        Target("holdfast", api, _paths(own, iter(["/v1/jobs?limit=20"])), {"X-API-Key": own.token}),
        Target("bare", bare, _paths(own, iter([f"/bare?{owner}"])), {}),
        Target("usual", bare, _paths(own, iter([f"/usual?{owner}"])), {}),
    ]


def _paths(own: Bed, paths: Iterator[str]) -> Path:
    lines = list(paths)
    path = own.folder / f"paths-{abs(hash(tuple(lines)))}"
    path.write_text("\n".join(lines) + "\n")
    return path


def _add_jobs(own: Bed) -> tuple[list[UUID], list[UUID]]:
    """Jobs as ingestion leaves them: some completed with a result, some under way with live progress."""
    now = datetime.now(UTC)
    ended = {"status": JobStatus.COMPLETED, "result": RESULT, "completed_at": now}
    worker = {"worker": "benchmark", "process": os.getpid()}
    lease = {**worker, "lease_expires_at": now + timedelta(days=1)}
    running = {"status": JobStatus.PROCESSING, "progress": _progress(10), **lease}
    completed = [_job(own, now, **ended) for _ in range(JOBS)]
    processing = [_job(own, now, **running) for _ in range(JOBS)]
    with own.holdfast.database.transaction() as session:
        session.add_all(completed + processing)
    writer = ProgressWriter(str(own.urls.redis_url), own.holdfast.settings.key_prefix)
    writer.write({job.id: _progress(60) for job in processing})
    with own.connect() as connection:
        connection.execute("VACUUM (ANALYZE) holdfast.jobs")
    return [job.id for job in completed], [job.id for job in processing]


def _job(own: Bed, started_at: datetime, **columns: Any) -> Job:
    arguments = {"document_id": RESULT["document_id"], "generation": 1, "size": 250_000}
    return Job(
        owner_id=own.owner.id,
        task="ingest_document",
        queue="default",
        priority=5,
        args=arguments,
        attempt=1,
        max_attempts=4,
        started_at=started_at,
        **columns,
    )


def _progress(current: int) -> dict[str, Any]:
    return {"current": current, "total": 120, "message": "indexing"}
