"""Every request that a client makes, and what its answer is: said once, for both clients."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict, TypeVar, Unpack
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from holdfast.client.effects import Call, Request, Upload
from holdfast.documents.views import DocumentView
from holdfast.errors import ConfigurationError, InvalidArgument, InvalidArguments
from holdfast.jobs.accepted import BatchAccepted, JobAccepted
from holdfast.schemas import (
    AttemptList,
    BatchItem,
    BatchPage,
    BatchRequest,
    BatchView,
    CollectionList,
    DocumentAccepted,
    DocumentPage,
    JobPage,
    JobRequest,
    JobView,
    QueueList,
    QueueView,
    SearchRequest,
    SearchResults,
    WorkerList,
)
from holdfast.states import JobStatus, Steps

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)

Arguments: TypeAlias = Mapping[str, Any] | BaseModel
"""A task's arguments: what Pydantic can write as JSON."""

JOBS: Final = "/v1/jobs"


class JobOptions(TypedDict, total=False):
    """What may be said of a job, or of each of a batch, besides its arguments: as `POST /v1/jobs` takes it.

    `delay`, `timeout`, `deadline` and `start_by` are seconds.
    """

    priority: int | None
    delay: float | None
    run_at: datetime | None
    timeout: float | None
    deadline: float | None
    start_by: float | None
    metadata: Mapping[str, JsonValue] | None
    notify: Mapping[str, JsonValue] | None


class JobFilters(TypedDict, total=False):
    """Which jobs are listed: those to which all of this applies."""

    status: JobStatus | None
    task: str | None
    queue: str | None
    error: str | None
    batch_id: UUID | None
    parent_id: UUID | None
    was_retried: bool | None
    created_after: datetime | None
    created_before: datetime | None
    completed_after: datetime | None


def submit(
    task: str,
    args: Arguments | None = None,
    *,
    idempotency_key: str | None = None,
    **options: Unpack[JobOptions],
) -> Call[JobAccepted]:
    """Ask for work by the name of its task, which the application has exposed.

    Sent again after a failure, it is the same job: without a key of yours it has one of its own.
    """
    body = _checked(JobRequest, task=task, args=_jsonable(args or {}), **_given(options))
    return _post(JOBS, JobAccepted, body=body, headers=_keyed(idempotency_key))


def submit_batch(
    task: str,
    jobs: Iterable[Arguments | BatchItem],
    *,
    idempotency_key: str | None = None,
    **options: Unpack[JobOptions],
) -> Call[BatchAccepted]:
    """Ask for up to 10,000 jobs of one task at once: all are accepted, or none. `metadata` is the batch's."""
    items = [job if isinstance(job, BatchItem) else BatchItem(args=_jsonable(job)) for job in jobs]
    body = _checked(BatchRequest, task=task, jobs=items, **_given(options))
    return _post("/v1/batches", BatchAccepted, body=body, headers=_keyed(idempotency_key))


def ingest(
    path: str | PathLike[str],
    collection: str = "default",
    *,
    name: str | None = None,
    notify: Mapping[str, JsonValue] | None = None,
    idempotency_key: str | None = None,
) -> Call[DocumentAccepted]:
    """Upload a document into a collection, under its own name or another; a job makes it searchable.

    A document of the same name in the collection is replaced once the new one has been read.
    """
    upload = Upload(Path(path), name or Path(path).name)
    request = Request(
        "POST",
        "/v1/documents/ingest",
        form={"collection": collection, **({} if notify is None else {"notify": json.dumps(dict(notify))})},
        upload=upload,
        headers=_keyed(idempotency_key),
    )
    return Call(request, _reading(DocumentAccepted))


def search(query: str, collection: str = "default", *, limit: int = 10) -> Call[SearchResults]:
    """Find the passages of a collection that answer a query best."""
    body = _checked(SearchRequest, query=query, collection=collection, limit=limit)
    return _post("/v1/search", SearchResults, body=body)


def get_job(job_id: UUID, *, wait: int | None = None) -> Call[JobView]:
    """A job as it stands; with `wait`, as soon as it ends, and after so many seconds at the latest."""
    return _get(job_path(job_id), JobView, wait=wait)


def list_jobs(
    *,
    limit: int = 20,
    before: UUID | None = None,
    after: UUID | None = None,
    **filters: Unpack[JobFilters],
) -> Call[JobPage]:
    """A page of jobs, newest first."""
    return _get(JOBS, JobPage, limit=limit, before=before, after=after, **filters)


def list_attempts(job_id: UUID) -> Call[AttemptList]:
    """A job's executions, first to last."""
    return _get(f"{job_path(job_id)}/attempts", AttemptList)


def cancel_job(job_id: UUID) -> Call[JobView]:
    """Ask a job to stop: a queued one at once, a processing one when its task notices."""
    return _post(f"{job_path(job_id)}/cancel", JobView)


def retry_job(
    job_id: UUID, *, steps: Steps = Steps.KEEP, idempotency_key: str | None = None
) -> Call[JobAccepted]:
    """Make a new job that does what a failed or cancelled one asked for."""
    path, headers = f"{job_path(job_id)}/retry", _keyed(idempotency_key)
    return _post(path, JobAccepted, headers=headers, params={"steps": steps.value})


def get_batch(batch_id: UUID) -> Call[BatchView]:
    """How many jobs of a batch stand how."""
    return _get(f"/v1/batches/{batch_id}", BatchView)


def list_batches(*, limit: int = 20, before: UUID | None = None) -> Call[BatchPage]:
    """A page of batches, newest first."""
    return _get("/v1/batches", BatchPage, limit=limit, before=before)


def cancel_batch(batch_id: UUID) -> Call[BatchView]:
    """Ask all jobs of a batch to stop."""
    return _post(f"/v1/batches/{batch_id}/cancel", BatchView)


def get_document(document_id: UUID) -> Call[DocumentView]:
    """A document, whether it can be searched, and what became of its latest upload."""
    return _get(f"/v1/documents/{document_id}", DocumentView)


def list_documents(
    *, collection: str | None = None, limit: int = 20, before: UUID | None = None
) -> Call[DocumentPage]:
    """A page of documents, newest first."""
    return _get("/v1/documents", DocumentPage, collection=collection, limit=limit, before=before)


def delete_document(document_id: UUID) -> Call[None]:
    """Delete a document with all that was made of it."""
    return Call(Request("DELETE", f"/v1/documents/{document_id}"), _nothing)


def list_collections() -> Call[CollectionList]:
    """The collections of this API key, by name."""
    return _get("/v1/collections", CollectionList)


def delete_collection(name: str) -> Call[None]:
    """Delete a collection with all its documents."""
    return Call(Request("DELETE", f"/v1/collections/{quote(name, safe='')}"), _nothing)


def list_queues() -> Call[QueueList]:
    """Every queue that has jobs, workers or a pause; for keys of the scope `admin`."""
    return _get("/v1/queues", QueueList)


def list_workers() -> Call[WorkerList]:
    """The workers that have lately said that they live; for keys of the scope `admin`."""
    return _get("/v1/workers", WorkerList)


def pause_queue(name: str) -> Call[QueueView]:
    """Start no more jobs of a queue; for keys of the scope `admin`."""
    return _post(f"/v1/queues/{quote(name, safe='')}/pause", QueueView)


def resume_queue(name: str) -> Call[QueueView]:
    """Start jobs of a queue again; for keys of the scope `admin`."""
    return _post(f"/v1/queues/{quote(name, safe='')}/resume", QueueView)


def request(
    method: str, path: str, body: Mapping[str, Any] | None = None, **params: object
) -> Call[dict[str, Any]]:
    """The JSON object at a path for which there is no method here, such as `/v1/webhooks`; `{}` without one.

    Parameters of the query that are `None` are left out. As every request it is sent again where it failed in
    passing: what must not happen twice needs a client whose `patience` is 0.
    """
    text = None if body is None else json.dumps(_jsonable(body), allow_nan=False)
    asked = Request(method, path, params=params, body=text)
    return Call(asked, _object)


def job_path(job_id: UUID) -> str:
    """Where the job is, from the API's root."""
    # A `UUID` and nothing else: what is none must not lead to another path.
    return f"{JOBS}/{UUID(str(job_id))}"


def _get(path: str, answer: type[T], **params: object) -> Call[T]:
    return Call(Request("GET", path, params=params), _reading(answer))


def _post(
    path: str,
    answer: type[T],
    *,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, object] | None = None,
) -> Call[T]:
    request = Request("POST", path, params=params or {}, body=body, headers=headers or {})
    return Call(request, _reading(answer))


def _reading(answer: type[T]) -> Callable[[httpx.Response], T]:
    def read(response: httpx.Response) -> T:
        try:
            answered: T = TypeAdapter(answer).validate_json(response.content)
        except ValidationError as error:
            told = f"What answers at {response.url} is not Holdfast, or another version of it."
            raise ConfigurationError(told) from error
        return answered

    return read


def _object(response: httpx.Response) -> dict[str, Any]:
    return _reading(dict[str, Any])(response) if response.content else {}


def _nothing(_: httpx.Response) -> None:
    """There is nothing to read in the answer."""


def _keyed(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid4())}


def _checked(model: type[Model], **fields: object) -> str:
    """The request as JSON; raises `InvalidArguments` for what the API would refuse."""
    try:
        request = model.model_validate(fields).model_dump(mode="json", exclude_unset=True)
        return json.dumps(request, allow_nan=False)
    except ValidationError as error:
        misfits = [
            InvalidArgument(tuple(map(str, fault["loc"])), fault["msg"], fault["type"])
            for fault in error.errors(include_input=False, include_context=False)
        ]
        told = "; ".join(f"{'.'.join(misfit.location)}: {misfit.message}" for misfit in misfits)
        raise InvalidArguments(told, misfits) from None
    except ValueError as error:
        raise InvalidArguments(f"Not to be written as JSON: {error}") from error


def _jsonable(args: Arguments) -> dict[str, Any]:
    try:
        written: dict[str, Any] = to_jsonable_python(args, inf_nan_mode="constants")
    except ValueError as error:
        raise InvalidArguments(f"Not to be written as JSON: {error}") from error
    return written


def _given(options: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
