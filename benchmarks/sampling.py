"""Where the processes of a worker spend their time: their main threads, looked at every other millisecond.

A sample belongs to the first part of the list that has code on the stack; time spent waiting for something
to do is left out. Unlike a tracing profiler this does not make short functions look expensive. The samples
are of elapsed time: waiting for PostgreSQL's answer is in them.
"""

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FrameType

SECONDS = 0.002
WRITE_EVERY = 250
# By file and function; a function of "" is any. What stands first wins.
PARTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "claim": (("holdfast/jobs/runner.py", "_claim"),),
    "record": (("holdfast/jobs/runner.py", "_record"),),
    "row of the recipe": (("benchmarks/plain_app.py", "recorded"),),
    "Holdfast's runner besides": (("holdfast/jobs/runner.py", ""),),
    "result backend": (("celery/backends/", ""),),
    "events": (("celery/events/", ""),),
    "Celery's tracer besides": (("celery/app/trace.py", ""),),
    "taking messages, acknowledging": (("kombu/transport/", ""), ("celery/worker/", "")),
    "handing jobs to children, taking results": (("celery/concurrency/", ""), ("billiard/", "")),
}
# Waiting for something to do: the child for a job, the main process for anything; ending takes a second.
IDLE = (
    ("billiard/pool.py", "receive"),
    ("billiard/pool.py", "_do_exit"),
    ("kombu/utils/eventio.py", ""),
    ("celery/worker/worker.py", "stop"),
)
REST = "the rest"


class Sampler:
    """Samples the main thread of this process until it ends, then writes the counts.

    Args:
        folder: where `<role>-<pid>.json` is written, twice a second: a pool's process ends without a word.
        role: what this process is.
    """

    def __init__(self, folder: Path, role: str) -> None:
        self._counts: Counter[str] = Counter()
        self._file = folder / f"{role}-{os.getpid()}.json"
        self._main = threading.main_thread().ident
        self._known: dict[CodeType, str | None] = {}
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            for _ in range(WRITE_EVERY):
                time.sleep(SECONDS)
                frame = sys._current_frames().get(self._main or 0)
                part = None if frame is None else self._part(frame)
                if part is not None:
                    self._counts[part] += 1
            self._file.write_text(json.dumps(self._counts))

    def _part(self, frame: FrameType | None) -> str | None:
        """The part this stack is in; `None`: it waits for something to do."""
        found = set()
        while frame is not None:
            if frame.f_code not in self._known:
                self._known[frame.f_code] = _part_of(frame.f_code)
            found.add(self._known[frame.f_code])
            frame = frame.f_back
        if "idle" in found:
            return None
        return next((part for part in PARTS if part in found), REST)


def _part_of(code: CodeType) -> str | None:
    for part, places in {"idle": IDLE, **PARTS}.items():
        for file, function in places:
            if file in code.co_filename and function in ("", code.co_name):
                return part
    return None
