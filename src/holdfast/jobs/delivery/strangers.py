"""Jobs that no worker takes out of PostgreSQL by itself, as none that serves their queue knows their task.

They are sent after all, some at a time: a worker that gets such a message and does not know the task either
puts the job off and says so, see `unknown_tasks`. One that knows it has it a little later than the others.
"""

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


class Strangers:
    """Takes jobs of unknown tasks from the queues that are not fed.

    Args:
        knows: the names of the tasks that this process has.
    """

    def __init__(self, database: Database, carrier: Carrier, knows: Callable[[], Collection[str]]) -> None:
        self._database = database
        self._carrier = carrier
        self._knows = knows

    def take(self, shelves: Sequence[Shelf]) -> list[Delivery]:
        """Mark as sent what has long stood on these shelves and is not known here, and return it.

        Raises:
            CarrierUnavailable: the broker is away; nothing was marked.
        """
        if not shelves or not self._carrier.reserve("strangers", PAUSE):
            return []
        known = self._knows()
        with self._database.transaction() as session:
            return [
                delivery
                for shelf in shelves
                for delivery in sending.take_unknown(session, shelf, known, age=AGE, limit=MOST)
            ]
