"""Taking jobs that wait in PostgreSQL without a message for each.

A message costs a worker about a millisecond, and a claim by itself as much again. A worker that has many
places takes as many due jobs as it has free ones in one statement instead; their messages are never written.
See docs/decisions/0011-pulling.md.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from holdfast.jobs import grouped
from holdfast.jobs.database import Database
from holdfast.jobs.delivery import waiting
from holdfast.jobs.delivery.waiting import Shelf
from holdfast.jobs.grouped import Holder
from holdfast.jobs.registry import Registry
from holdfast.jobs.store import Claim

# How far to look for jobs of one kind among others: a long backlog of one is not read for the other.
DEPTH = 2_000


@dataclass(frozen=True)
class Places:
    """How many jobs could start now.

    Attributes:
        all: whatever their kind.
        threads: of plain functions, among them.
    """

    all: int
    threads: int


class Puller:
    """Claims what waits in PostgreSQL, by priority and age.

    Args:
        url: of the database. It has a connection of its own, on which PostgreSQL reads along the index: after
            many jobs were written at once the planner takes them for few, and would sort them all.
        registry: of the tasks whose jobs may be claimed.
        holder: who claims.
    """

    def __init__(self, url: Callable[[], str], registry: Registry, holder: Callable[[], Holder]) -> None:
        in_order = {"enable_sort": "off", "enable_bitmapscan": "off"}
        self._database = Database(url, pool_size=1, server_settings=in_order)
        self._registry = registry
        self._holder = holder

    def queues(self) -> set[str]:
        """The queues whose jobs can be claimed so: all but those with tasks that run in processes."""
        computing = {task.options.queue for task in self._registry if task.options.cpu_bound}
        return {task.options.queue for task in self._registry} - computing

    def take(self, queues: Collection[str], places: Places) -> list[Claim]:
        """Claim jobs of these queues for these places, the most urgent first.

        Raises:
            SQLAlchemyError: PostgreSQL is away; what it has done all the same is given back later.
        """
        with self._database.session() as session:
            shelves = [shelf for shelf in waiting.due_shelves(session) if shelf.queue in queues]
        # The most urgent of every queue before the next of any.
        shelves.sort(key=lambda shelf: shelf.priority)
        claims: list[Claim] = []
        threads = places.threads
        for shelf in shelves:
            by_kind = self._tasks_of(shelf.queue)
            is_mixed = all(by_kind.values())
            for is_async, tasks in by_kind.items():
                free = places.all - len(claims)
                limit = free if is_async else min(free, threads)
                if not tasks or limit <= 0:
                    continue
                taken = self._claim(shelf, tasks, limit, depth=DEPTH if is_mixed else None)
                claims += taken
                threads -= 0 if is_async else len(taken)
        return claims

    def _claim(self, shelf: Shelf, tasks: Collection[str], limit: int, *, depth: int | None) -> list[Claim]:
        with self._database.statement() as connection:
            return grouped.claim_due(connection, shelf, tasks, self._holder(), limit=limit, depth=depth)

    def _tasks_of(self, queue: str) -> Mapping[bool, list[str]]:
        """The names of a queue's tasks, by whether they are async."""
        tasks = [task for task in self._registry if task.options.queue == queue]
        return {
            is_async: [task.name for task in tasks if task.is_async is is_async] for is_async in (True, False)
        }
