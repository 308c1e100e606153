"""Documents through the HTTP API: upload them all, wait for the last job, count what came of it."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.corpus import Source
from benchmarks.programs import NotReady

POLL_SECONDS = 0.5


@dataclass
class Round:
    """What became of one round of uploads; jobs by the name of their document."""

    seconds: float
    upload_seconds: float
    sources: Sequence[Source]
    refused: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def completed(self) -> list[dict[str, Any]]:
        return [job for job in self.jobs.values() if job["status"] == "completed"]

    @property
    def failures(self) -> dict[str, list[str]]:
        """The documents that were not ingested, by code."""
        found: dict[str, list[str]] = {}
        for name, job in self.jobs.items():
            if job["status"] != "completed":
                found.setdefault((job["error"] or {}).get("code", job["status"]), []).append(name)
        return found

    @property
    def chunks(self) -> int:
        return sum(job["result"]["chunks"] for job in self.completed)

    @property
    def pages(self) -> int:
        return sum(job["result"]["pages"] or 0 for job in self.completed)

    @property
    def bytes(self) -> int:
        return sum(source.size for source in self.sources)


class Ingester:
    """A client of the API: one upload at a time, as fast as they are taken; no limit to the backlog."""

    def __init__(self, url: str, token: str, collection: str = "debian") -> None:
        self.collection = collection
        self._http = httpx.Client(base_url=url, headers={"X-API-Key": token}, timeout=120)

    def ingest(self, sources: Sequence[Source], limit_seconds: float) -> Round:
        """Upload everything and wait for the end of all jobs; raises `NotReady` when the time is over."""
        started = time.monotonic()
        deadline = started + limit_seconds
        accepted: dict[str, str] = {}
        refused: Counter[str] = Counter()
        for source in sources:
            self._upload(source, accepted, refused)
            _check(deadline, "uploading")
        uploaded = time.monotonic()
        while self._is_busy():
            _check(deadline, "ingesting")
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - started
        jobs = {accepted[job["id"]]: job for job in self._jobs() if job["id"] in accepted}
        return Round(seconds, uploaded - started, sources, refused, jobs)

    def delete(self) -> None:
        """Delete the collection with all that was ingested."""
        self._http.delete(f"/v1/collections/{self.collection}").raise_for_status()

    def close(self) -> None:
        self._http.close()

    def _upload(self, source: Source, accepted: dict[str, str], refused: Counter[str]) -> None:
        with source.path.open("rb") as file:
            response = self._http.post(
                "/v1/documents/ingest",
                data={"collection": self.collection},
                files={"file": (_name(source.path), file)},
            )
        if response.is_client_error:
            refused[response.json()["code"]] += 1
        else:
            accepted[response.raise_for_status().json()["job_id"]] = source.path.name

    def _is_busy(self) -> bool:
        return any(self._page(status=status, limit=1)["data"] for status in ("queued", "processing"))

    def _jobs(self) -> Iterator[dict[str, Any]]:
        page = self._page(limit=100)
        while True:
            yield from page["data"]
            if not page["has_more"]:
                return
            page = self._page(limit=100, before=page["last_id"])

    def _page(self, **parameters: str | int) -> dict[str, Any]:
        content: dict[str, Any] = self._http.get("/v1/jobs", params=parameters).raise_for_status().json()
        return content


def _name(path: Path) -> str:
    # Names of documents are limited; the front is the package, the end the file.
    return path.name[-200:]


def _check(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise NotReady(f"{what} was not done in time.")
