"""Debian's manuals and HTML documentation through the HTTP API, with one worker of two processes.

The offline part embeds lexically in the worker. The provider part asks a simulated provider, a process of its
own that takes 50 ms for each answer, for vectors of 384 numbers, and looks whether a text was paid for twice.
"""

from collections import Counter
from statistics import median
from typing import Any

import httpx
import psutil

from benchmarks.bed import ROOT, Bed, Served, bed
from benchmarks.corpus import Source, collect
from benchmarks.figures import Figures, Size, megabytes, quantile
from benchmarks.ingesting import Ingester, Round
from benchmarks.processes import Peaks, cpu_seconds, peak_rss, reaped_seconds
from benchmarks.programs import Program, descendants, free_port

LIMIT_SECONDS = 3600
CONCURRENCY = 2
# A smaller corpus with PDF, HTML and text, for the provider.
SUBSET = ("debian-policy", "developers-reference", "python-celery-doc")
DIMENSIONS = 384
DELAY_SECONDS = 0.05
TIMES = """
    SELECT extract(epoch FROM a.ended_at - a.started_at)::float FROM holdfast.attempts a
    WHERE a.ended_at IS NOT NULL
"""


def main(size: Size) -> Figures:
    figures = Figures()
    with bed() as own:
        _offline(own, _some(own, size, None), figures)
    with bed() as own:
        _provider(own, _some(own, size, SUBSET), figures)
    return figures


def _some(own: Bed, size: Size, packages: tuple[str, ...] | None) -> list[Source]:
    found = collect(own.folder / "documents", *([packages] if packages else []))
    if size == "full":
        return found
    return found[:: max(1, len(found) // 60)] + [source for source in found if source.kind == "PDF"][:2]


def _offline(own: Bed, sources: list[Source], figures: Figures) -> None:
    api, worker = own.api(), own.worker(CONCURRENCY)
    ingester = Ingester(api.url, own.token)
    with Peaks(_groups(api, worker, own)).watched() as peaks:
        done = ingester.ingest(sources, LIMIT_SECONDS)
    figures.data["offline"] = _facts(done) | {
        "peak_rss_bytes": _memory(peaks, api, worker),
        "cpu_seconds": _cpu(own, api, worker),
        "attempts": _attempt_times(own),
    }
    ingester.close()
    _show("offline", done, figures)
    _show_costs(figures.data["offline"], figures)
    _pdf(api, own, [source for source in sources if source.kind == "PDF"], figures)


def _pdf(api: Served, own: Bed, sources: list[Source], figures: Figures) -> None:
    """The PDFs once more, alone and into another collection: of them alone pages are counted."""
    ingester = Ingester(api.url, own.token, "pdf")
    done = ingester.ingest(sources, LIMIT_SECONDS)
    ingester.close()
    figures.data["pdf"] = _facts(done)
    told = f"{done.pages:,} pages of {len(sources)} documents in {done.seconds:.1f} s"
    figures.show("offline: PDF alone", f"{done.pages / done.seconds:,.0f} pages/s ({told})")


def _provider(own: Bed, sources: list[Source], figures: Figures) -> None:
    provider = _start_provider(own)
    env = {
        "OPENAI_BASE_URL": provider,
        "OPENAI_API_KEY": "sk-simulated-key",
        "HOLDFAST_EMBEDDING_DIMENSIONS": str(DIMENSIONS),
    }
    api = own.api(**env)
    own.worker(CONCURRENCY, **env)
    ingester = Ingester(api.url, own.token)
    first = ingester.ingest(sources, LIMIT_SECONDS)
    paid = _counters(provider)
    ingester.delete()
    again = ingester.ingest(sources, LIMIT_SECONDS)
    after = _counters(provider)
    ingester.close()
    figures.data["provider"] = _facts(first) | {"dimensions": DIMENSIONS, "delay_seconds": DELAY_SECONDS}
    figures.data["provider"] |= {"counters": paid, "counters_after_deletion_and_again": after}
    _show(f"provider, {DIMENSIONS} dimensions, {DELAY_SECONDS * 1000:.0f} ms", first, figures)
    told = f"{paid['calls']:,}; {paid['inputs']:,}; {paid['repeated_inputs']}"
    figures.show("provider: requests; texts; texts paid twice", told, "0 paid twice")
    bought = after["inputs"] - paid["inputs"]
    what = f"{again.seconds:.1f} s; {after['calls'] - paid['calls']} requests, {bought} texts paid"
    figures.show("provider: all deleted and ingested again", what, "nothing paid")


def _start_provider(own: Bed) -> str:
    port = free_port()
    script = ROOT / "tests" / "simulated_provider.py"
    delay = ("--delay-seconds", str(DELAY_SECONDS), "--dimensions", str(DIMENSIONS))
    program = own.run("provider", str(script), "--port", str(port), *delay)
    program.wait_for(lambda: "/v1" in program.tail(), "the provider")
    return f"http://127.0.0.1:{port}/v1"


def _counters(provider: str) -> dict[str, int]:
    url = provider.removesuffix("/v1") + "/simulation"
    counters: dict[str, int] = httpx.get(url).raise_for_status().json()
    return counters


def _groups(api: Served, worker: Program, own: Bed) -> dict[str, Any]:
    """Who is measured: a worker's direct children run jobs, theirs read documents."""
    main = psutil.Process(worker.pid)
    pids = own.engine_pids()

    def readers() -> list[psutil.Process]:
        own_children = {child.pid for child in main.children()}
        return [each for each in descendants(worker.pid) if each.pid not in own_children]

    return {
        "api": lambda: [psutil.Process(api.pid)],
        "worker": lambda: [main, *main.children()],
        "readers": readers,
        "postgres": lambda: [psutil.Process(pids["postgres"]), *descendants(pids["postgres"])],
    }


def _memory(peaks: Peaks, api: Served, worker: Program) -> dict[str, Any]:
    return {
        "api": peak_rss(api.pid),
        "worker_main": peak_rss(worker.pid),
        "worker_children": [peak_rss(child.pid) for child in psutil.Process(worker.pid).children()],
        "worker_sum": peaks.bytes["worker"],
        "readers_sum": peaks.bytes["readers"],
        "largest_reader": peaks.one_process["readers"],
        "postgres_sum_shared_pages_counted_each_time": peaks.bytes["postgres"],
    }


def _cpu(own: Bed, api: Served, worker: Program) -> dict[str, float]:
    used = {name: cpu_seconds(pid) for name, pid in own.engine_pids().items()}
    # A worker's children start no processes but those that read documents.
    readers = sum(reaped_seconds(child) for child in psutil.Process(worker.pid).children())
    used |= {"api": cpu_seconds(api.pid), "worker": cpu_seconds(worker.pid) - readers, "readers": readers}
    return {name: round(seconds, 1) for name, seconds in used.items()}


def _attempt_times(own: Bed) -> dict[str, float]:
    with own.connect() as connection:
        seconds = [row[0] for row in connection.execute(TIMES)]
    return {
        "count": len(seconds),
        "busy_seconds": round(sum(seconds), 1),
        "median_seconds": round(median(seconds), 3),
        "p95_seconds": round(quantile(seconds, 0.95), 3),
        "max_seconds": round(max(seconds), 3),
    }


def _facts(done: Round) -> dict[str, Any]:
    kinds = Counter(source.kind for source in done.sources)
    sizes = Counter[str]()
    for source in done.sources:
        sizes[source.kind] += source.size
    return {
        "documents": len(done.sources),
        "kinds": {kind: {"documents": kinds[kind], "bytes": sizes[kind]} for kind in kinds},
        "bytes": done.bytes,
        "pdf_pages": done.pages,
        "chunks": done.chunks,
        "makespan_seconds": round(done.seconds, 1),
        "upload_seconds": round(done.upload_seconds, 1),
        "refused": dict(done.refused),
        "failures": {
            code: {"documents": len(names), "names": names[:20]} for code, names in done.failures.items()
        },
    }


def _show(variant: str, done: Round, figures: Figures) -> None:
    kinds = Counter(source.kind for source in done.sources)
    what = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    figures.show(f"{variant}: documents", f"{len(done.sources)} ({what}), {megabytes(done.bytes)}")
    figures.show(
        f"{variant}: makespan",
        f"{done.seconds:.1f} s, of which {done.upload_seconds:.1f} s while uploads came in",
    )
    rates = (len(done.completed), "documents"), (done.chunks, "chunks"), (done.bytes / 1e6, "MB")
    speed = ", ".join(f"{count / done.seconds:,.1f} {unit}/s" for count, unit in rates)
    figures.show(f"{variant}: speed", f"{speed} ({done.chunks:,} chunks, {done.pages:,} PDF pages)")
    failures = {code: len(names) for code, names in done.failures.items()} | dict(done.refused)
    told = ", ".join(f"{count} {code}" for code, count in failures.items()) or "none"
    figures.show(f"{variant}: failures", told)


def _show_costs(facts: dict[str, Any], figures: Figures) -> None:
    memory, cpu = facts["peak_rss_bytes"], facts["cpu_seconds"]
    children = ", ".join(megabytes(size) for size in memory["worker_children"])
    figures.show("offline: peak RSS of the API", megabytes(memory["api"]))
    figures.show(
        "offline: peak RSS of the worker", f"main {megabytes(memory['worker_main'])}, children {children}"
    )
    figures.show(
        "offline: peak RSS of reading processes",
        f"{megabytes(memory['largest_reader'])} the largest, {megabytes(memory['readers_sum'])} together",
    )
    figures.show("offline: CPU time", ", ".join(f"{name} {seconds} s" for name, seconds in cpu.items()))
    times = facts["attempts"]
    figures.show(
        "offline: time of one document in its job",
        f"median {times['median_seconds']:.2f} s, p95 {times['p95_seconds']:.2f} s, "
        f"max {times['max_seconds']:.2f} s",
    )
