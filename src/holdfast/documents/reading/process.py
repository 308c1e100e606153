"""The parent's side of the reading process: start, receive, find out why it died, kill."""

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from holdfast.documents.reading.media import unreadable
from holdfast.documents.reading.parts import ReadLimits
from holdfast.errors import HoldfastError, Retry

_READ_BYTES = 65_536
_STDERR_BYTES = 4096
# What a parser needs of our environment. Keys and database addresses stay here.
_KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL")
# `import holdfast` brings FastAPI, Celery and SQLAlchemy, 1.5 seconds that reading has no use for. The parent
# packages are entered as names alone, so that only the reading package is loaded.
_BOOTSTRAP = """
import sys, types
for name, path in zip(("holdfast", "holdfast.documents"), sys.argv[1:]):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from holdfast.documents.reading.child import main
main()
"""
_PACKAGES = tuple(str(parent) for parent in (Path(__file__).parents[2], Path(__file__).parents[1]))
_CRASHES = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP}
_MEMORY_WORDS = (
    b"MemoryError",
    b"memory allocation",
    b"out of memory",
    b"bad_alloc",
    b"Cannot allocate memory",
)


class ReadingProcess:
    """A child process that reads one document; `close` it, or it lives as long as this process."""

    def __init__(self, request: bytes, limits: ReadLimits) -> None:
        self._limits = limits
        self._waited_seconds = 0.0
        self._stderr = b""
        self._peak_bytes = 0
        # Closing may come from another thread than the one that waits for the next record.
        self._receiving = threading.Lock()
        self._process = _start()
        self._selector = selectors.PollSelector()
        for pipe in (self._process.stdout, self._process.stderr):
            self._selector.register(cast("IO[bytes]", pipe), selectors.EVENT_READ)
        # A child that died at once is found out by the missing end of its records.
        with contextlib.suppress(BrokenPipeError):
            os.write(cast("IO[bytes]", self._process.stdin).fileno(), request)

    def lines(self) -> Iterator[bytes]:
        """Yield the child's lines; `DocumentError`, code `time_limit`, when waiting takes too long."""
        rest = b""
        while data := self._receive():
            *lines, rest = (rest + data).split(b"\n")
            yield from lines

    def cause_of_death(self) -> HoldfastError:
        """Wait for the child, which has closed its stdout, and return the error that tells why it ended."""
        with self._receiving:
            self._reap()
        code = self._process.returncode
        number = -code if code < 0 else 0
        if number == signal.SIGXCPU:
            return self._limits.out_of_time(self._limits.cpu_seconds)
        if number == signal.SIGKILL:
            return Retry(
                "The reading process was killed; the system may be short of memory.", code="reader_killed"
            )
        short_of_memory = 2 * self._peak_bytes >= self._limits.memory_bytes and number in _CRASHES
        if short_of_memory or any(words in self._stderr for words in _MEMORY_WORDS):
            return self._limits.out_of_memory()
        end = f"signal {number}" if number else f"exit code {code}"
        said = self._stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return unreadable("reader_crashed", f"The reader crashed ({end}). {said}".strip())

    def close(self) -> None:
        """Kill the child and all it started and wait for its end; any thread may, and more than once."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        # A thread that waits for a record sees the end of the stream now and lets go.
        with self._receiving:
            self._reap()
            self._selector.close()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                cast("IO[bytes]", pipe).close()

    def _receive(self) -> bytes:
        with self._receiving:
            started = time.monotonic()
            try:
                return self._next_data(started + self._limits.wall_seconds - self._waited_seconds)
            finally:
                self._waited_seconds += time.monotonic() - started

    def _next_data(self, deadline: float) -> bytes:
        while self._selector.get_map():
            ready = self._selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise self._limits.out_of_time(self._limits.wall_seconds)
            for key, _ in ready:
                data = os.read(key.fd, _READ_BYTES)
                if not data:
                    self._selector.unregister(key.fileobj)
                elif key.fileobj is self._process.stdout:
                    return data
                else:
                    self._stderr = (self._stderr + data)[-_STDERR_BYTES:]
        return b""

    def _reap(self) -> None:
        if self._process.returncode is not None:
            return
        # Not `Popen.wait`, which keeps the peak of memory to itself. ru_maxrss is in KiB, on macOS in bytes.
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        # Linux counts what a process held before it became another program, which is ours here: only what
        # exceeds that is the reader's own.
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if usage.ru_maxrss > ours:
            self._peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _start() -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-P", "-X", "utf8", "-c", _BOOTSTRAP, *_PACKAGES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=environment,
        cwd="/",
        # A session and group of its own: killed as a whole, untouched by Ctrl-C.
        start_new_session=True,
    )
