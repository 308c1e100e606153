"""What the API takes and gives, as JSON. Light: the client knows it without the server's dependencies."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from holdfast.bounds import COUNTED, MAX_JOBS
from holdfast.documents.views import CollectionView, DocumentView, Hit
from holdfast.jobs.accepted import BatchAccepted, JobAccepted
from holdfast.states import AttemptOutcome, JobStatus

JOB_ID: Final = "01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80"
BATCH_ID: Final = "01997a5e-8f2c-7e02-b1d4-5c6a7b8c9d0e"
DOCUMENT_ID: Final = "01997a5e-8f2a-7d10-8a34-3f0c9b1d2e4f"

COLLECTION_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
MAX_SECONDS = 366 * 86_400


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold a NUL character")
    return text


# PostgreSQL's text has no NUL.
StorableText = Annotated[str, AfterValidator(_without_nul)]
CollectionName = Annotated[
    str,
    Field(
        pattern=COLLECTION_PATTERN,
        description="Lower-case letters, digits, `-` and `_`; at most 63, not beginning with `-` or `_`.",
        examples=["default"],
    ),
]


class InvalidField(BaseModel):
    """One thing that does not fit in a request."""

    location: list[str] = Field(description="Where it stands.", examples=[["query", "limit"]])
    message: str
    type: str


class Problem(BaseModel):
    """An error (RFC 9457, `application/problem+json`)."""

    type: str = Field(examples=["urn:holdfast:problem:job_not_found"])
    title: str = Field(examples=["There is no such job"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["No job has this id."])
    code: str = Field(description="Stable; made for programs.", examples=["job_not_found"])
    request_id: str = Field(
        description="Also in `X-Request-ID`, and in the server's log.", examples=["5f0c7f6f2b9d4c1ea83f7e10"]
    )
    retryable: bool = Field(description="Whether the same request may succeed later.", examples=[False])
    errors: list[InvalidField] | None = None


class JobProgress(BaseModel):
    """How far a job is."""

    current: int
    total: int | None = None
    message: str | None = None


class JobFailure(BaseModel):
    """Why a job, or one attempt of it, failed."""

    code: str = Field(description="Stable; made for programs.", examples=["no_text"])
    message: str
    stage: str | None = Field(None, description="The part of the work that failed.", examples=["read"])
    attempt: int | None = Field(None, description="The attempt that failed.")


Metadata = Annotated[
    dict[str, JsonValue], Field(description="Kept and shown, and otherwise left alone.", examples=[{}])
]
Notify = Annotated[
    dict[str, JsonValue],
    Field(
        max_length=10,
        description="Whom to tell of the end, by channel: `webhook` (an object with its `url`), `email` (an "
        "address), and those of the application.",
        examples=[{"webhook": {"url": "https://example.org/hook"}, "email": "me@example.org"}],
    ),
]
Priority = Annotated[
    int, Field(ge=0, le=9, description="0 (first) to 9 (last); the task's own if not given.")
]


Seconds = Annotated[float, Field(strict=True, le=MAX_SECONDS)]
Limit = Annotated[Seconds, Field(gt=0)]


class TaskRequest(BaseModel):
    """What a request for work says, of one job or of many."""

    model_config = ConfigDict(extra="forbid")

    task: str
    priority: Priority | None = None
    delay: Seconds | None = Field(None, ge=0, description="Seconds to wait at least.")
    run_at: AwareDatetime | None = Field(None, description="Instead of `delay`: not started before.")
    timeout: Limit | None = Field(
        None, description="Seconds that an attempt may take; the task's own if not given."
    )
    deadline: Limit | None = Field(
        None, description="Seconds from now in which a job must have ended; the task's own if not given."
    )
    start_by: Limit | None = Field(
        None, description="Seconds from now in which a job must be started; the task's own if not given."
    )
    metadata: Metadata | None = None
    notify: Notify | None = None


class JobRequest(TaskRequest):
    """Work that is asked for by the name of its task."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"task": "summarize", "args": {"text": "Kelp grows fast."}}]},
    )

    args: dict[str, JsonValue] = Field(default_factory=dict, description="As the task takes them.")


class BatchItem(BaseModel):
    """One job of a batch."""

    model_config = ConfigDict(extra="forbid")

    args: dict[str, JsonValue] = Field(default_factory=dict, description="As the task takes them.")
    metadata: Metadata | None = None


class BatchRequest(TaskRequest):
    """Many jobs of one task. What is said of them all holds for each; `metadata` is the batch's, and the end
    of the whole batch is what is told by `notify`.
    """  # noqa: D205 - shown whole as the model's description

    jobs: list[BatchItem] = Field(min_length=1, max_length=MAX_JOBS)


class BatchCounts(BaseModel):
    """How many jobs of a batch stand how. Jobs that were deleted since count in `total` alone."""

    queued: int
    processing: int
    completed: int
    failed: int
    cancelled: int
    total: int


class BatchView(BaseModel):
    """Jobs that were asked for together."""

    id: UUID = Field(examples=[BATCH_ID])
    counts: BatchCounts
    metadata: dict[str, Any]
    created_at: datetime
    cancel_requested_at: datetime | None
    urls: dict[str, str] = Field(examples=[{"batch": f"/v1/batches/{BATCH_ID}"}])


class EndedBatch(BatchAccepted):
    """A batch that was accepted and whose jobs have all ended while the answer waited for them."""

    batch: BatchView


class BatchPage(BaseModel):
    """Batches, newest first. `before=last_id` asks for the next page."""

    data: list[BatchView]
    has_more: bool
    first_id: UUID | None
    last_id: UUID | None


class JobView(BaseModel):
    """A job. Its arguments are not shown: they may hold what only the task should see."""

    id: UUID = Field(examples=[JOB_ID])
    task: str = Field(examples=["ingest_document"])
    queue: str = Field(examples=["default"])
    status: JobStatus
    progress: JobProgress | None = Field(description="Live while the job is processing; then its last.")
    result: JsonValue = Field(description="What the task returned; null until the job is completed.")
    error: JobFailure | None = Field(description="Of the latest failed attempt.")
    metadata: dict[str, Any]
    attempt: int = Field(description="The latest execution; 0 before the first.")
    max_attempts: int
    created_at: datetime
    started_at: datetime | None = Field(description="When the first attempt began.")
    completed_at: datetime | None
    cancel_requested_at: datetime | None
    run_at: datetime = Field(description="Not started before this time.")
    parent_id: UUID | None = Field(description="The job that spawned this one.")
    batch_id: UUID | None = Field(description="The batch it was asked for in.")
    retry_of: UUID | None = Field(description="The dead job that this one retries.")
    retries: list[UUID] = Field(description="Jobs that retry this one, oldest first.")
    urls: dict[str, str] = Field(examples=[{"job": f"/v1/jobs/{JOB_ID}"}])


class EndedJob(JobAccepted):
    """A job that was accepted and has ended while the answer waited for it."""

    job: JobView


class JobPage(BaseModel):
    """Jobs, newest first. `before=last_id` asks for the next page, `after=first_id` for newer jobs."""

    data: list[JobView]
    has_more: bool = Field(description="Whether there are more in the direction that was asked for.")
    first_id: UUID | None
    last_id: UUID | None


class JobEvent(BaseModel):
    """Something that happened to a job, or that its task has said."""

    id: int = Field(description="Rises with each event of the job.")
    event: str
    data: dict[str, Any]


class EventLog(BaseModel):
    """A job's events, first to last. `after` with the last one's id asks for the next."""

    data: list[JobEvent]
    has_more: bool


class AttemptView(BaseModel):
    """One execution of a job."""

    model_config = ConfigDict(from_attributes=True)

    attempt: int
    started_at: datetime
    ended_at: datetime | None
    outcome: AttemptOutcome | None
    error: JobFailure | None


class AttemptList(BaseModel):
    """A job's executions, first to last."""

    data: list[AttemptView]


class DocumentAccepted(BaseModel):
    """An upload was stored and will be ingested; follow the job at its URL."""

    job_id: UUID = Field(examples=[JOB_ID])
    document_id: UUID = Field(examples=[DOCUMENT_ID])
    status: JobStatus = JobStatus.QUEUED
    created: bool = Field(True, description="Whether this request made the job; false: an earlier one did.")
    urls: dict[str, str] = Field(
        examples=[{"job": f"/v1/jobs/{JOB_ID}", "document": f"/v1/documents/{DOCUMENT_ID}"}]
    )


class EndedDocument(DocumentAccepted):
    """An upload that was stored, and whose job has ended while the answer waited for it."""

    job: JobView


class DocumentPage(BaseModel):
    """Documents, newest first. `before=last_id` asks for the next page."""

    data: list[DocumentView]
    has_more: bool
    first_id: UUID | None
    last_id: UUID | None


class CollectionList(BaseModel):
    """The collections of this API key, by name."""

    data: list[CollectionView]


class SearchRequest(BaseModel):
    """What to look for, and where."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"query": "how are leases renewed", "collection": "default"}]},
    )

    query: Annotated[StorableText, Field(min_length=1, max_length=4000, pattern=r"\S")]
    collection: CollectionName = "default"
    limit: int = Field(10, ge=1, le=100)


class SearchResults(BaseModel):
    """Chunks, best first; `score` orders the chunks of one search and means nothing beyond it."""

    mode: Literal["lexical", "hybrid"] = Field(description="How they were ranked.")
    data: list[Hit]


class QueueView(BaseModel):
    """A queue that has jobs, workers or a pause."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    queued: int = Field(description=f"Jobs that wait; {COUNTED} stands for as many or more.")
    processing: int = Field(description="Jobs that run.")
    oldest_wait_seconds: float | None = Field(
        description="How long ago the job that has waited longest could have started."
    )
    workers: int = Field(description="How many take jobs from it; without any, none starts.")
    paused_at: datetime | None = Field(description="Since when no job of it is started.")


class QueueList(BaseModel):
    """Queues, by name."""

    data: list[QueueView]


class WorkerView(BaseModel):
    """A worker that is alive, as far as it has said so."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    host: str
    pid: int
    pool: str
    queues: list[str]
    running: int
    concurrency: int
    is_consuming: bool = Field(description="Whether it would take a job now if it had a slot for it.")
    is_stopping: bool
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_seconds: float = Field(description="How long ago that was, by the clock of the database.")


class WorkerList(BaseModel):
    """Workers, by name."""

    data: list[WorkerView]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The API can do its work."""

    status: Literal["ready"] = "ready"
    database: Literal["ok"] = "ok"
    redis: Literal["ok", "unreachable"] = Field(
        description="Without Redis jobs are accepted all the same, and run when it is back."
    )
