"""The client for ordinary code: it performs what plans ask for, and blocks meanwhile."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar
from uuid import UUID

import httpx

from holdfast.client import calls, following, listing, waiting
from holdfast.client.connecting import PATIENCE_SECONDS, http_options, written
from holdfast.client.effects import Course, Effect, Open, Outcome, Pause, Plan, Read, Send
from holdfast.client.exchange import Patience, planned
from holdfast.client.following import Event
from holdfast.jobs.accepted import BatchAccepted, JobAccepted
from holdfast.schemas import DocumentAccepted, JobView
from holdfast.states import Steps

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")


class _Performer:
    """Performs the effects of one plan; the stream that it has open is its own."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._stream: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def advance(self, course: Course[T], effect: Effect) -> None:
        """Perform the effect, and tell the plan what came of it."""
        try:
            outcome = self._perform(effect)
        except httpx.TransportError as error:
            course.failed(error)
        else:
            course.went(outcome)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _perform(self, effect: Effect) -> Outcome:
        match effect:
            case Send(request):
                with written(self._http, request) as sent:
                    return self._http.send(sent)
            case Open(request):
                self.close()
                with written(self._http, request) as sent:
                    self._stream = response = self._http.send(sent, stream=True)
                self._pieces = response.iter_bytes()
                if not response.is_success:
                    response.read()
                return response
            case Read():
                return next(self._pieces, b"")
            case Pause(seconds):
                time.sleep(seconds)
        return None


def _itself(_: "Client", answer: T) -> T:
    return answer


def _method(
    build: Callable[Concatenate[Patience, P], Plan[T]], make: "Callable[[Client, T], U]"
) -> "Callable[Concatenate[Client, P], U]":
    """A method of the client that carries out a plan, and makes something of what it returns."""

    @wraps(build)
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> U:
        return make(client, client.run(build(Patience(client.patience), *args, **kwargs)))

    return method


def _iterating(
    build: Callable[Concatenate[Patience, P], Plan[None]], item: type[T]
) -> "Callable[Concatenate[Client, P], Iterator[T]]":
    """A method of the client that iterates over what a plan emits."""

    @wraps(build)
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return client.iterate(build(Patience(client.patience), *args, **kwargs), item)

    return method


def _of_one(
    build: Callable[Concatenate[Patience, UUID, P], Plan[T]],
) -> "Callable[Concatenate[_Known, P], T]":
    """A method of something known by its id that carries out a plan for it."""

    @wraps(build)
    def method(known: "_Known", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return known.client.run(build(Patience(known.client.patience), known.id, *args, **kwargs))

    return method


class Client:
    """A Holdfast API, for ordinary code; safe to use from several threads.

    What fails in passing is tried again, after pauses that grow and as `Retry-After` says. What makes jobs is
    sent with an idempotency key, so that a request whose answer was lost makes its job once.

    Args:
        url: of the API; `HOLDFAST_URL` if not given, and port 8000 of this machine without that.
        key: the API key; `HOLDFAST_API_KEY` if not given.
        patience: for how many seconds in a row requests may fail before the error is raised.
        transport: what sends the requests, instead of the network.

    Raises:
        ConfigurationError: there is no key, or the URL is none.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(**http_options(url, key), transport=transport)
        self.patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, plan: Plan[T]) -> T:
        """Carry out a plan, and give what it returns."""
        with closing(plan), closing(_Performer(self._http)) as performer:
            course = Course(plan)
            while (effect := course.effect) is not None:
                performer.advance(course, effect)
            return course.result

    def iterate(self, plan: Plan[None], item: type[T]) -> Iterator[T]:
        """Carry out a plan as far as is iterated, over what it emits."""
        with closing(plan), closing(_Performer(self._http)) as performer:
            course = Course(plan)
            while (effect := course.effect) is not None:
                if (emitted := course.emitted(item)) is not None:
                    yield emitted
                performer.advance(course, effect)

    def job(self, job_id: UUID | str) -> "Job":
        """A job by its id; nothing is asked of the API yet."""
        return Job(self, UUID(str(job_id)))

    def batch(self, batch_id: UUID | str) -> "Batch":
        """A batch by its id; nothing is asked of the API yet."""
        return Batch(self, UUID(str(batch_id)))

    def _job_of(self, accepted: JobAccepted | DocumentAccepted) -> "Job":
        return Job(self, accepted.job_id, accepted)

    def _batch_of(self, accepted: BatchAccepted) -> "Batch":
        return Batch(self, accepted.batch_id, tuple(accepted.job_ids))

    submit = _method(planned(calls.submit), _job_of)
    submit_batch = _method(planned(calls.submit_batch), _batch_of)
    ingest = _method(planned(calls.ingest), _job_of)
    search = _method(planned(calls.search), _itself)
    get_job = _method(planned(calls.get_job), _itself)
    list_jobs = _method(planned(calls.list_jobs), _itself)
    jobs = _iterating(listing.jobs, JobView)
    list_attempts = _method(planned(calls.list_attempts), _itself)
    cancel_job = _method(planned(calls.cancel_job), _itself)
    retry_job = _method(planned(calls.retry_job), _job_of)
    get_batch = _method(planned(calls.get_batch), _itself)
    cancel_batch = _method(planned(calls.cancel_batch), _itself)
    list_batches = _method(planned(calls.list_batches), _itself)
    get_document = _method(planned(calls.get_document), _itself)
    list_documents = _method(planned(calls.list_documents), _itself)
    delete_document = _method(planned(calls.delete_document), _itself)
    list_collections = _method(planned(calls.list_collections), _itself)
    delete_collection = _method(planned(calls.delete_collection), _itself)
    list_queues = _method(planned(calls.list_queues), _itself)
    list_workers = _method(planned(calls.list_workers), _itself)
    pause_queue = _method(planned(calls.pause_queue), _itself)
    resume_queue = _method(planned(calls.resume_queue), _itself)
    request = _method(planned(calls.request), _itself)
    events = _iterating(following.all_events, Event)


class _Known:
    """What is known by its id."""

    def __init__(self, client: Client, known_id: UUID) -> None:
        self.client = client
        self.id = known_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id})"


class Job(_Known):
    """A job of a client, by its id.

    Attributes:
        created: whether this client's request made it, and no earlier one with the idempotency key; `None` if
            the job was not asked for by this client.
        document_id: the document's, if the job was made by `ingest`.
    """

    def __init__(
        self, client: Client, job_id: UUID, accepted: JobAccepted | DocumentAccepted | None = None
    ) -> None:
        super().__init__(client, job_id)
        self.created = None if accepted is None else accepted.created
        self.document_id = accepted.document_id if isinstance(accepted, DocumentAccepted) else None

    get = _of_one(planned(calls.get_job))
    wait = _of_one(waiting.wait)
    result = _of_one(waiting.result)
    cancel = _of_one(planned(calls.cancel_job))
    list_attempts = _of_one(planned(calls.list_attempts))

    def events(self, *, after: int | None = None, timeout: float | None = None) -> Iterator[Event]:
        """Its events until it has ended, each once and in order; see `following.job_events`."""
        plan = following.job_events(Patience(self.client.patience), self.id, after=after, timeout=timeout)
        return self.client.iterate(plan, Event)

    def retry(self, *, steps: Steps = Steps.KEEP, idempotency_key: str | None = None) -> "Job":
        """Make a new job that does what this one, which has failed or was cancelled, asked for."""
        return self.client.retry_job(self.id, steps=steps, idempotency_key=idempotency_key)


class Batch(_Known):
    """A batch of a client, by its id; `job_ids` are known of one that was made by `submit_batch`."""

    def __init__(self, client: Client, batch_id: UUID, job_ids: tuple[UUID, ...] = ()) -> None:
        super().__init__(client, batch_id)
        self.job_ids = job_ids

    get = _of_one(planned(calls.get_batch))
    wait = _of_one(waiting.wait_for_batch)
    cancel = _of_one(planned(calls.cancel_batch))

    def jobs(self) -> Iterator[JobView]:
        """Its jobs as they stand, the last first."""
        return self.client.jobs(batch_id=self.id)
