"""What the dashboard's pages ask for, over a database with a history: one request after another."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from statistics import median

import httpx
from sqlalchemy import text

from benchmarks.bed import Bed
from benchmarks.figures import Figures
from benchmarks.growing import Grown
from holdfast.jobs import keys
from holdfast.jobs.counting import Counting

GOAL = "under 200 ms"
TIMES = 15
PAGES = (
    *(f"overview?span={span}" for span in ("1h", "24h", "30d")),
    *("jobs", "jobs?status=queued", "jobs?status=completed", "jobs?status=failed", "jobs?status=cancelled"),
    *("jobs?task=summarize", "jobs?task=nothing", "jobs?error=provider_unavailable", "jobs?error=nothing"),
    *("jobs?queue=slow&status=failed", "jobs/{job}", "jobs/{job}/arguments", "failures", "queues", "workers"),
    *("keys", "documents", "collections"),
)


def show_pages(own: Bed, grown: Grown, figures: Figures, about: str) -> None:
    """Ask for each `TIMES` times, and show median and longest; the first time counts."""
    counted = _count_past(grown)
    print(f"  the dashboard's counts: {counted:.0f} s", flush=True)
    found: dict[str, list[float]] = {page: [] for page in PAGES}
    with _visitor(own, grown) as browser:
        job_id = _a_job(grown)
        for _ in range(TIMES):
            for page, times in found.items():
                times.append(_asked(browser, page.format(job=job_id)))
            # An overview is kept for a second.
            time.sleep(1)
    for page, times in found.items():
        told = f"{median(times):.1f} ms, {max(times):.1f} ms at most"
        figures.show(f"dashboard, {about}, {page}", told)
    longest = max(max(times) for times in found.values())
    figures.show(f"dashboard, {about}: the longest answer", f"{longest:.1f} ms", GOAL)
    figures.data["dashboard"] = {"pages": found, "seconds of counting": round(counted, 1)}


def _count_past(grown: Grown) -> float:
    """Have the history counted, as a worker does in the background when it meets one."""
    began = time.monotonic()
    counting = Counting(grown.database)
    while counting.round():
        pass
    return time.monotonic() - began


@contextmanager
def _visitor(own: Bed, grown: Grown) -> Iterator[httpx.Client]:
    with grown.database.transaction() as session:
        _, token = keys.create_key(session, "operator", scopes=(keys.ADMIN,), expires_in=timedelta(hours=2))
    api = own.api(DATABASE_URL=grown.database.url.replace("postgresql+psycopg://", "postgresql://"))
    asking = {"Origin": api.url, "X-Holdfast-Dashboard": "1"}
    with httpx.Client(base_url=f"{api.url}/dashboard/api/", headers=asking, timeout=60) as browser:
        browser.post("session", json={"key": token}).raise_for_status()
        yield browser
    api.program.stop()


def _a_job(grown: Grown) -> str:
    query = "SELECT id FROM holdfast.jobs WHERE status = 'failed' ORDER BY id DESC LIMIT 1"
    with grown.database.session() as session:
        return str(session.execute(text(query)).scalar_one())


def _asked(browser: httpx.Client, page: str) -> float:
    began = time.perf_counter()
    browser.get(page).raise_for_status()
    return round((time.perf_counter() - began) * 1_000, 2)
