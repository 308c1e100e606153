"""What has to be known of a contender to run it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

# A worker's command; its first word is a program of the contender's environment.
Command = Sequence[str]
# The commands of a worker with so many processes, each with so many slots.
Workers = Callable[[int, int], Sequence[Command]]


@dataclass(frozen=True)
class Kept:
    """What is left of a job when something goes wrong, and later, with the settings that are measured.

    Attributes:
        record: where it stands.
        broker_lost: what becomes of it when Valkey loses its memory.
        worker_killed: what becomes of it when its worker is killed (SIGKILL).
        result: where its result is kept, and how long.
        history: what is left of its attempts.
        is_durable: whether neither loss loses a job, and result and history are kept until they are deleted.
    """

    record: str
    broker_lost: str
    worker_killed: str
    result: str
    history: str
    is_durable: bool = False


@dataclass(frozen=True)
class Contender:
    """A queue, and how its worker is run.

    Attributes:
        distribution: its name as a package.
        app: its module in `benchmarks.contenders.apps`.
        packages: what `uv pip install` is given for its environment.
        workers: commands of workers.
        kept: what is durable about it.
        slots: of a worker, for jobs that wait.
        busy_slots: of a worker process, for jobs that do nothing.
        env: what its programs are told besides.
    """

    name: str
    distribution: str
    app: str
    packages: Sequence[str]
    workers: Workers
    kept: Kept
    slots: int = 1_000
    busy_slots: int = 100
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def module(self) -> str:
        return f"benchmarks.contenders.apps.{self.app}"
