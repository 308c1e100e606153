"""Faults of single processes and of their ways to the engines."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from random import Random
from signal import SIGCONT, SIGKILL, SIGSTOP

import psutil

from holdfast.chaos.fault import Wound
from holdfast.chaos.fleet import Supervised
from holdfast.chaos.ground import Ground, skewed
from holdfast.chaos.proxy import Link

AN_HOUR_SECONDS = 3600
KILOBYTE = 1 << 10
# A worker that takes jobs is always left: with none, a recovery would tell how long a worker takes to start.
SPARED = 1


def kill_worker(ground: Ground, rng: Random) -> None:
    """SIGKILL of a worker and all its children at once, as the loss of a machine is."""
    for worker in _some_worker(ground, rng, spared=SPARED):
        ground.fleet.note(worker)
        worker.kill()


def kill_child(ground: Ground, rng: Random) -> None:
    """SIGKILL of one process of a prefork pool, as the kernel's out-of-memory killer does it."""
    for worker in _some_worker(ground, rng):
        children, busy = worker.children(), ground.busy()
        children = [child for child in children if child in busy] or children
        if children:
            child = rng.choice(children)
            ground.fleet.note(worker, child=child)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, SIGKILL)


def kill_submitter(ground: Ground, _rng: Random) -> None:
    """SIGKILL of the process that submits, wherever it is in a transaction."""
    submitter = ground.fleet.submitter
    if submitter is not None and not submitter.has_finished:
        submitter.kill()


def kill_api(ground: Ground, _rng: Random) -> None:
    """SIGKILL of the API, in the middle of whatever upload it is taking."""
    if ground.fleet.api is not None:
        ground.fleet.api.kill()


def fill_uploads(ground: Ground, rng: Random) -> Wound | None:
    """The API can write no file longer than a kilobyte: its store of uploads is as good as full.

    By the kernel's limit of a process (RLIMIT_FSIZE), on Linux alone. A write fails with EFBIG, where one on
    a full disk fails with ENOSPC; no more is done about the one than about the other.
    """
    pid = None if ground.fleet.api is None else ground.fleet.api.pid
    if pid is None or sys.platform != "linux":
        return None
    process = psutil.Process(pid)
    _, most = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (KILOBYTE, most))

    def make_room() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.rlimit(psutil.RLIMIT_FSIZE, (most, most))

    return Wound(rng.uniform(3, 6), make_room)


def stop_worker(ground: Ground, rng: Random) -> Wound | None:
    """SIGSTOP for longer than the lease, then SIGCONT: the sleeper's jobs are elsewhere when it wakes."""
    for worker in _some_worker(ground, rng, spared=SPARED):
        ground.fleet.note(worker, is_kill=False)
        worker.is_stopped = True
        worker.signal(SIGSTOP)

        def wake(worker: Supervised = worker) -> None:
            worker.signal(SIGCONT)
            worker.is_stopped = False

        return Wound(ground.lease_seconds + rng.uniform(1, 3), wake)
    return None


def shift_clock(ground: Ground, rng: Random) -> Wound | None:
    """Kill a worker; the one that takes its place has a clock that is an hour ahead, or behind."""
    for worker in _some_worker(ground, rng, spared=SPARED):
        worker.env = skewed(worker.env, rng.choice([-AN_HOUR_SECONDS, AN_HOUR_SECONDS]))
        ground.fleet.note(worker)
        worker.kill()

        def set_right(worker: Supervised = worker) -> None:
            # Taken up at its next start; until then it goes on being wrong, which is the point.
            worker.env = skewed(worker.env, 0)

        return Wound(rng.uniform(5, 10), set_right)
    return None


def cut_postgres(ground: Ground, rng: Random) -> Wound | None:
    """One worker cannot reach PostgreSQL: connections are refused, or silent for longer than the lease."""
    return _cut(ground, rng, lambda worker: ground.links[worker.name].postgres)


def cut_valkey(ground: Ground, rng: Random) -> Wound | None:
    """One worker cannot reach Valkey: connections are refused, or silent for longer than the lease."""
    return _cut(ground, rng, lambda worker: ground.links[worker.name].valkey)


def _cut(ground: Ground, rng: Random, way: Callable[[Supervised], Link]) -> Wound | None:
    for worker in _some_worker(ground, rng):
        link = way(worker)
        if rng.random() < 0.5:
            link.refuse()
            return Wound(rng.uniform(2, 6), link.restore)
        link.fall_silent()
        return Wound(ground.lease_seconds + rng.uniform(1, 3), link.restore)
    return None


def _some_worker(ground: Ground, rng: Random, *, spared: int = 0) -> Sequence[Supervised]:
    """One of the workers that take jobs, one that runs a job if there is any; none when only `spared` do."""
    draw = rng.random()  # drawn in any case, so that what follows from the seed stays the same
    ready, busy = ground.fleet.ready(), ground.busy()
    if len(ready) <= spared:
        return []
    chosen = [worker for worker in ready if worker.pid in busy] or ready
    return chosen[int(draw * len(chosen)) :][:1]
