"""The backlog on its way into the pool: jobs that were claimed together, each a request to the worker.

Celery sees each as a task that it has received: `inspect active`, events and so Flower show it by its id.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from celery import Celery, bootsteps
from celery.exceptions import TaskRevokedError
from celery.worker.state import task_reserved
from kombu.asynchronous import Hub
from sqlalchemy.exc import SQLAlchemyError

from holdfast.celery.carrier import JOB_HEADER
from holdfast.celery.pool import AsyncioPool
from holdfast.jobs.loop import process_loop
from holdfast.jobs.patience import reason
from holdfast.jobs.process import PerProcess
from holdfast.jobs.pulling import Places, Puller
from holdfast.jobs.store import Claim

log = logging.getLogger(__name__)

P = TypeVar("P")
T = TypeVar("T")

# Jobs that are claimed at once.
MOST = 500
# Messages that wait in the worker for their claim, at most: enough to keep it busy.
PREFETCHED = 64
# Between two changes of how many messages the broker may send. Each wakes Celery's consumer: told at every
# place that was taken or left, it took an eighth of the event loop's time.
PREFETCH_SECONDS = 0.02


class PulledMessage:
    """What Celery's request wants of a message, for a job that had none.

    Args:
        made: a message of the job's task, for no job.
        claim: of the job.
    """

    content_type = content_encoding = None
    channel = None

    def __init__(self, made: Any, claim: Claim) -> None:  # noqa: ANN401 - Celery's `task_message`
        job_id = str(claim.id)
        self.headers = {**made.headers, "id": job_id, "root_id": job_id, "argsrepr": f"({job_id!r},)"}
        self.properties = {**made.properties, "correlation_id": job_id}
        self.body: tuple[Any, ...] = ([job_id], {}, made.body[2])
        self.payload = self.body
        self.delivery_info: dict[str, Any] = {}


@cache
def message_of(app: Celery, task: str) -> Any:  # noqa: ANN401 - as above
    """What is the same in the messages of all jobs of a task: made for each, it took longer than the rest."""
    made = app.amqp.create_task_message("", task, args=[""], kwargs={}, kwargsrepr="{}")
    made.headers[JOB_HEADER] = True
    return made


class Pulling:
    """Fills the places of an asyncio pool from PostgreSQL, whenever there are some and jobs wait.

    Args:
        puller: what claims.
        claims: where claimed jobs are found by their tasks, by the job's id.
        give_back: takes back the claim of a job that is not started after all; called in a thread.
        doubt: called when it is not known what was claimed.
    """

    def __init__(
        self,
        puller: Puller,
        claims: MutableMapping[str, Claim],
        give_back: Callable[[Claim], object],
        doubt: Callable[[], object],
    ) -> None:
        self._puller = puller
        self._claims = claims
        self._give_back = give_back
        self._doubt = doubt
        self._consumer: Any = None
        self._pool: AsyncioPool | None = None
        self._may_be_more = False
        self._is_pulling = False
        self._prefetch = 0
        self._prefetch_at = 0.0
        self._next_prefetch: asyncio.TimerHandle | None = None
        self._pull_task: asyncio.Task[None] | None = None
        # Apart from asyncio's own threads, all of which user code may hold.
        self._threads = PerProcess(lambda: ThreadPoolExecutor(2, "holdfast-pulling"))

    def attach(self, pool: object) -> None:
        """The worker has this pool, which may be one that can be filled."""
        if isinstance(pool, AsyncioPool):
            self._pool = pool
            pool.has_no_message = lambda call: call.id in self._claims

    def begin(self, consumer: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """The worker takes jobs from now on."""
        if self._pool is not None:
            self._consumer = consumer
            self._prefetch = 0
            self._pool.on_change = self._on_change
            process_loop.loop.call_soon_threadsafe(self._on_change)

    def give_back_rest(self) -> None:
        """The worker ends: let others have what was claimed and has not begun."""
        while self._claims:
            _, claim = self._claims.popitem()
            self._give_back(claim)

    def queues(self, consumed: Collection[str]) -> list[str]:
        """Those of a worker's queues whose backlog it takes by itself."""
        return [] if self._pool is None else sorted(self._puller.queues().intersection(consumed))

    def wake(self, _queues: Collection[str] = ()) -> None:
        """Jobs wait; called in any thread."""
        if self._consumer is not None:
            process_loop.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._may_be_more = True
        self._on_change()

    def _on_change(self) -> None:
        """A place was taken or given back."""
        pool = self._pool
        assert pool is not None  # noqa: S101 - it calls
        self._set_prefetch(pool)
        if self._may_be_more and not self._is_pulling and pool.free("task"):
            self._is_pulling = True
            self._pull_task = asyncio.create_task(self._pull(pool))

    def _set_prefetch(self, pool: AsyncioPool) -> None:
        """Let the broker send as many messages as can be started, now or soon: others may have the rest."""
        if self._next_prefetch is not None or self._wanted(pool) == self._prefetch:
            return
        loop = asyncio.get_running_loop()
        after = self._prefetch_at + PREFETCH_SECONDS
        if loop.time() < after:
            self._next_prefetch = loop.call_at(after, self._change_prefetch, pool)
        else:
            self._change_prefetch(pool)

    def _change_prefetch(self, pool: AsyncioPool) -> None:
        self._next_prefetch = None
        wanted = self._wanted(pool)
        hub: Hub | None = self._consumer.hub
        if wanted != self._prefetch and hub is not None:  # none where the broker is not asked asynchronously
            self._prefetch, self._prefetch_at = wanted, asyncio.get_running_loop().time()
            hub.call_soon(_prefetch, self._consumer, wanted)

    def _wanted(self, pool: AsyncioPool) -> int:
        return pool.unacknowledged + max(1, min(PREFETCHED, pool.free("task")))

    async def _pull(self, pool: AsyncioPool) -> None:
        places = Places(min(MOST, pool.free("task")), pool.free("thread"))
        self._may_be_more, all_started = False, False
        try:
            claims = await self._in_thread(self._take, places)
            self._may_be_more = self._may_be_more or len(claims) >= places.all
            for claim in claims:
                self._start(pool, claim)
            all_started = True
        except SQLAlchemyError as error:
            log.warning("No jobs could be taken just now: %s", reason(error))
        finally:
            self._is_pulling = False
            if not all_started:
                self._doubt()

    def _take(self, places: Places) -> list[Claim]:
        return self._puller.take(self.queues(self._consumer.app.amqp.queues.consume_from), places)

    def _in_thread(self, function: Callable[[P], T], argument: P) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads.get(), function, argument)

    def _start(self, pool: AsyncioPool, claim: Claim) -> None:
        if pool.is_closed:
            self._in_thread(self._give_back, claim)
            return
        request = self._request(claim)
        self._claims[request.id] = claim
        task_reserved(request)
        try:
            request.execute_using_pool(pool)
        except TaskRevokedError:
            # It is cancelled by its request.
            del self._claims[request.id]
            self._in_thread(self._give_back, claim)

    def _request(self, claim: Claim) -> Any:  # noqa: ANN401 - Celery's request
        consumer = self._consumer
        task = consumer.app.tasks[claim.task]
        message: Any = PulledMessage(message_of(consumer.app, claim.task), claim)
        request = task.Request(
            message,
            app=consumer.app,
            hostname=consumer.hostname,
            eventer=consumer.event_dispatcher,
            task=task,
            connection_errors=consumer.connection_errors,
            body=message.body,
            headers=message.headers,
            decoded=True,
        )
        facts = {"name": request.name, "args": request.argsrepr, "kwargs": "{}", "root_id": request.id}
        request.send_event("task-received", retries=0, **facts)
        return request


def pull_step(pulling: Pulling) -> type[bootsteps.StartStopStep]:
    """A bootstep of Celery's consumer that lets the pool pull as long as the worker takes jobs."""

    class PullStep(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
            pulling.begin(parent)

    return PullStep


def _prefetch(consumer: Any, count: int) -> None:  # noqa: ANN401 - Celery's consumer
    consumer.qos.value = count
    consumer.qos.update()
