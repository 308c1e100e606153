"""Jobs that no worker takes out of PostgreSQL by itself, as none knows their task.

They are sent after all, some at a time: a worker that gets such a message and does not know the task puts the
job off and says so, see `unknown_tasks`.
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

from holdfast.jobs.database import Database
from holdfast.jobs.delivery import sending
from holdfast.jobs.delivery.outbox import Carrier
from holdfast.jobs.delivery.sending import Delivery
from holdfast.jobs.delivery.waiting import Shelf

# How long somebody who knows the task may take to come.
AGE = timedelta(seconds=10)
# How often all relays together look.
PAUSE = timedelta(seconds=5)
# So many are sent of each shelf, as they would otherwise hide what stands behind them.
MOST = 500
# For how long it is believed that some worker knows a task.
KNOWN_SECONDS = 60.0


class Strangers:
    """Takes jobs of unknown tasks from the queues that are not fed.

    Args:
        knows: the names of the tasks that this process has.
    """

    def __init__(self, database: Database, carrier: Carrier, knows: Callable[[], Collection[str]]) -> None:
        self._database = database
        self._carrier = carrier
        self._knows = knows
        self._known_elsewhere: dict[str, float] = {}

    def take(self, shelves: Sequence[Shelf]) -> list[Delivery]:
        """Mark as sent what has long stood on these shelves and is known to no worker, and return it.

        Raises:
            CarrierUnavailable: the broker is away; nothing was marked.
        """
        if not shelves or not self._carrier.reserve("strangers", PAUSE):
            return []
        with self._database.session() as session:
            met = [sending.unknown_tasks(session, shelf, self._knows(), age=AGE) for shelf in shelves]
        unknown = {task for task in set[str]().union(*met) if not self._is_known_elsewhere(task)}
        if not unknown:
            return []
        with self._database.transaction() as session:
            return [
                delivery
                for shelf in shelves
                for delivery in sending.take_tasks(session, shelf, unknown, limit=MOST)
            ]

    def _is_known_elsewhere(self, task: str) -> bool:
        if time.monotonic() >= self._known_elsewhere.get(task, 0.0):
            if not self._carrier.workers_that_know(task):
                return False
            self._known_elsewhere[task] = time.monotonic() + KNOWN_SECONDS
        return True
