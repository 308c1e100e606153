"""What keeps jobs moving when messages are lost, and when their time has come.

Every worker runs one. Each round is a few bounded statements that skip what another relay has locked, so any
number of relays share the work.
"""

import logging
import os
import random
import signal
import threading
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from itertools import groupby

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from holdfast.errors import CarrierUnavailable
from holdfast.jobs import children, workers
from holdfast.jobs.counting import Counting
from holdfast.jobs.database import Database
from holdfast.jobs.delivery import sending, waiting
from holdfast.jobs.delivery.gauge import WINDOW
from holdfast.jobs.delivery.losses import Losses
from holdfast.jobs.delivery.outbox import Carrier
from holdfast.jobs.delivery.sending import Delivery
from holdfast.jobs.delivery.strangers import Strangers
from holdfast.jobs.delivery.unknown_tasks import UnknownTasks
from holdfast.jobs.delivery.waiting import Shelf
from holdfast.jobs.events import UNWATCHED, EventSink
from holdfast.jobs.keeper import Keeper
from holdfast.jobs.patience import reason
from holdfast.jobs.schedules import Scheduler
from holdfast.jobs.workers import Worker, WorkerFacts

log = logging.getLogger(__name__)

# Jobs that are marked before their messages are published: so many are looked for again when the process
# dies in between.
BATCH = 500
# How often all relays together look at the jobs that wait for children: of 10,000 that takes them 0.1 s.
WAKING = timedelta(seconds=1)
# How long the first round waits for the worker's first beat.
FIRST_BEAT_SECONDS = 2.0


class Relay:
    """Keeps the window of each queue full: what the broker holds of it, while the rest waits in PostgreSQL.

    Args:
        database: where jobs wait.
        carrier: what brings them to workers.
        window: how many messages come before a new one, at most.
        on_backlog: told of queues whose workers take what waits by themselves, and in which something does.
        knows: the names of the tasks of this process; of others jobs are sent to such queues all the same.
    """

    def __init__(
        self,
        database: Database,
        carrier: Carrier,
        *,
        window: int = WINDOW,
        on_backlog: Callable[[Collection[str]], object] = lambda _queues: None,
        knows: Callable[[], Collection[str]],
    ) -> None:
        self._database = database
        self._carrier = carrier
        self._window = window
        self._on_backlog = on_backlog
        self._batch = BATCH
        self.losses = Losses(database, carrier)
        self.unknown_tasks = UnknownTasks(database, carrier)
        self._strangers = Strangers(database, carrier, knows)

    def round(self) -> bool:
        """Everything once; `True`: there is more to do at once.

        Raises:
            SQLAlchemyError, CarrierUnavailable: it is away just now; the next round does what was not done.
        """
        try:
            self.unknown_tasks.put_off()
            self.losses.take_back()
            self.wake_waiting()
        except CarrierUnavailable:
            # Workers that take the backlog themselves need no broker for it.
            self._due_shelves()
            raise
        return self.feed()

    def wake_waiting(self) -> int:
        """Let jobs go on whose children have ended unseen; returns how many. One relay a second looks."""
        if not self._carrier.reserve("wake", WAKING):
            return 0
        with self._database.transaction() as session:
            return children.wake_waiting(session, limit=BATCH)

    def feed(self) -> bool:
        """Send due jobs as far as there is room for them; `True`: there may be more, and room for it."""
        shelves, pulled = self._due_shelves()
        # No queue waits for another one's backlog: each is fed a batch, the first being another each time.
        queues = [list(shelves) for _, shelves in groupby(shelves, key=lambda shelf: shelf.queue)]
        random.shuffle(queues)
        is_more = True in [self._feed_queue(shelves) for shelves in queues]
        self._send(self._strangers.take(pulled))
        return is_more

    def _due_shelves(self) -> tuple[list[Shelf], list[Shelf]]:
        """Where jobs wait to be sent, and where workers take them themselves, who are told of it."""
        with self._database.session() as session:
            shelves = waiting.due_shelves(session)
            pulled = workers.pulled_queues(session) if shelves else set()
        if waits := pulled.intersection(shelf.queue for shelf in shelves):
            self._on_backlog(waits)
        return [shelf for shelf in shelves if shelf.queue not in pulled], [
            shelf for shelf in shelves if shelf.queue in pulled
        ]

    def _feed_queue(self, shelves: Sequence[Shelf]) -> bool:
        queue, batch = shelves[0].queue, self._batch
        # Asked before anything is written: of a broker that is away nothing has to be taken back.
        in_broker = self._carrier.backlog(queue)
        with self._database.transaction() as session:
            if not sending.lock_queue(session, queue):
                return False
            # What was marked may not have arrived yet, and what has arrived may be of jobs that have ended.
            marked = waiting.sent_backlog(session, queue, limit=10 * self._window)
            deliveries: list[Delivery] = []
            for shelf in shelves:
                ahead = max(before(shelf.priority) for before in (in_broker.before, marked.before))
                room = self._window - ahead - len(deliveries)
                limit = min(room, batch - len(deliveries))
                if limit > 0:
                    deliveries += sending.take_unsent(session, shelf, limit=limit)
                elif room <= 0:
                    deliveries += sending.take_overdue(session, shelf)
        self._send(deliveries)
        return len(deliveries) >= batch

    def _send(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        try:
            self._carrier.send(sorted(deliveries, key=lambda delivery: delivery.priority))
        except CarrierUnavailable:
            # It answers and takes nothing: one job is enough to see when it does again.
            self._batch = 1
            with self._database.transaction() as session:
                sending.mark_unsent(session, [delivery.id for delivery in deliveries])
            raise
        self._batch = BATCH


class WorkerThreads:
    """Runs what a worker does besides its jobs, and watches its consumer, in a daemon thread each.

    Apart, because they fail apart: a broker that hangs must not keep leases from being renewed.

    Args:
        relay: what to run once a second, and when the keeper has something for it.
        scheduler: what to run once a second besides.
        counting: what to run every five seconds.
        look: what to run every other second, to see whether the consumer takes messages.
        database: the keeper's; its pool is one that no user code can exhaust.
        worker: whose leases are kept.
        facts: what to say of the worker.
        duty: what the keeper does besides.
        sink: told of the jobs that were taken back.
    """

    def __init__(
        self,
        relay: Relay,
        scheduler: Scheduler,
        counting: Counting,
        look: Callable[[], object],
        database: Database,
        worker: Worker,
        facts: Callable[[], WorkerFacts],
        duty: Callable[[Session], object],
        sink: EventSink = UNWATCHED,
    ) -> None:
        self._relay = relay
        self._sink = sink
        self._keeper = Keeper(database, worker, facts, self.wake, duty)
        self._stopping = threading.Lock()
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._known = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(work, pause, wait), name=f"holdfast-{name}", daemon=True)
            for name, work, pause, wait in (
                ("keeper", self._beat, worker.beat.total_seconds(), self._stopped.wait),
                ("relay", self._relay_all, 1.0, self._wait_for_work),
                ("scheduler", scheduler.round, 1.0, self._stopped.wait),
                ("counting", counting.round, 5.0, self._stopped.wait),
                ("watch", look, 2.0, self._stopped.wait),
            )
        ]

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Let the relay look at once: there is something to send."""
        self._woken.set()

    def stop(self) -> None:
        """End after the rounds that are under way, five seconds at most, and say that the worker ends."""
        self._stopped.set()
        self._woken.set()
        with self._stopping:
            for thread in self._threads:
                thread.join(5)
            if not any(thread.is_alive() for thread in self._threads):
                self._keeper.leave()

    def _run(self, work: Callable[[], object], seconds: float, wait: Callable[[float], object]) -> None:
        try:
            self._repeat(work, seconds, wait)
        finally:
            # A worker without relay or keeper does harm: let it end, and its supervisor start another.
            if not self._stopped.is_set():
                log.critical("%s died; the worker ends", threading.current_thread().name)
                os.kill(os.getpid(), signal.SIGTERM)

    def _repeat(self, work: Callable[[], object], seconds: float, wait: Callable[[float], object]) -> None:
        while not self._stopped.is_set():
            try:
                work()
            except (SQLAlchemyError, CarrierUnavailable) as error:
                log.warning("%s: %s", threading.current_thread().name, reason(error))
            # A jittered pause, so that those of many workers do not look at the same moment.
            wait(seconds * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret

    def _beat(self) -> None:
        if rescued := self._keeper.beat():
            self._sink.look_at(rescued)
        self._known.set()

    def _relay_all(self) -> None:
        # What a worker takes by itself need not be sent to it, once it has said so.
        self._known.wait(FIRST_BEAT_SECONDS)
        while self._relay.round() and not self._stopped.is_set():
            pass

    def _wait_for_work(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()
