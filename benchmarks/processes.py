"""Memory and CPU time of processes, from `/proc`."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

# Looking at all of /proc takes a while itself; who holds much memory lives longer than this.
SAMPLE_SECONDS = 0.2


def peak_rss(pid: int) -> int:
    """The most memory a process has held since it began, or since `forget_peak`, in bytes."""
    return _status(pid, "VmHWM")


def rss(pid: int) -> int:
    """The memory a process holds now, in bytes."""
    return _status(pid, "VmRSS")


def forget_peak(pid: int) -> None:
    """Let the kernel measure the peak anew (proc(5), `clear_refs`)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    """What a process and all under it have used, the ended ones included."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return sum(_own_and_reaped(each) for each in [process, *process.children(recursive=True)])
    return 0.0


def reaped_seconds(process: psutil.Process) -> float:
    """What the ended children of a process had used."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


class Peaks:
    """The highest sums of memory that were seen, by name: resident memory, unless another size is given."""

    def __init__(
        self,
        groups: Mapping[str, Callable[[], list[psutil.Process]]],
        size: Callable[[psutil.Process], int] | None = None,
    ) -> None:
        self._groups = groups
        self._size = size or resident
        self.bytes = dict.fromkeys(groups, 0)
        self.one_process = dict.fromkeys(groups, 0)
        self._ended = threading.Event()

    @contextmanager
    def watched(self) -> Iterator["Peaks"]:
        """Sample in a thread for the length of the block."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            for name, processes in self._groups.items():
                sizes = [size for process in processes() if (size := self._size(process))]
                self.bytes[name] = max(self.bytes[name], sum(sizes))
                self.one_process[name] = max([self.one_process[name], *sizes])


def resident(process: psutil.Process) -> int:
    """A process's resident memory; pages that it shares with others count in each of them."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def pss(process: psutil.Process) -> int:
    """A process's memory with its part of the pages that it shares, so that a sum counts each page once."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _own_and_reaped(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)
