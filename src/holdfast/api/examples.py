"""What the API answers, by example: shown in its OpenAPI, and held to its models by a test."""

from typing import Any, Final

from holdfast.schemas import BATCH_ID, DOCUMENT_ID, JOB_ID

_JOB_URL: Final = f"/v1/jobs/{JOB_ID}"

JOB: Final[dict[str, Any]] = {
    "id": JOB_ID,
    "task": "ingest_document",
    "queue": "default",
    "status": "processing",
    "progress": {"current": 40, "total": 129, "message": "indexing"},
    "result": None,
    "error": None,
    "metadata": {},
    "attempt": 1,
    "max_attempts": 4,
    "created_at": "2026-11-22T10:15:30.120000Z",
    "started_at": "2026-11-22T10:15:30.145000Z",
    "completed_at": None,
    "cancel_requested_at": None,
    "run_at": "2026-11-22T10:15:30.120000Z",
    "parent_id": None,
    "batch_id": None,
    "retry_of": None,
    "retries": [],
    "urls": {
        "job": _JOB_URL,
        "attempts": f"{_JOB_URL}/attempts",
        "events": f"{_JOB_URL}/events",
        "cancel": f"{_JOB_URL}/cancel",
        "retry": f"{_JOB_URL}/retry",
    },
}
ACCEPTED_JOB: Final[dict[str, Any]] = {
    "job_id": JOB_ID,
    "status": "queued",
    "created": True,
    "urls": {"job": _JOB_URL},
}
CANCELLED_JOB: Final[dict[str, Any]] = {
    **JOB,
    "status": "cancelled",
    "progress": None,
    "attempt": 0,
    "started_at": None,
    "completed_at": "2026-11-22T10:15:31.500000Z",
    "cancel_requested_at": "2026-11-22T10:15:31.500000Z",
}
JOBS: Final[dict[str, Any]] = {"data": [JOB], "has_more": False, "first_id": JOB_ID, "last_id": JOB_ID}
ATTEMPTS: Final[dict[str, Any]] = {
    "data": [
        {
            "attempt": 1,
            "started_at": "2026-11-22T10:15:30.145000Z",
            "ended_at": "2026-11-22T10:15:32.902000Z",
            "outcome": "completed",
            "error": None,
        }
    ]
}
_BATCH_URLS: Final = {
    "batch": f"/v1/batches/{BATCH_ID}",
    "jobs": f"/v1/jobs?batch_id={BATCH_ID}",
    "cancel": f"/v1/batches/{BATCH_ID}/cancel",
}
BATCH_REQUEST: Final[dict[str, Any]] = {
    "task": "summarize",
    "jobs": [{"args": {"text": "Kelp grows fast."}, "metadata": {"page": 1}}],
    "metadata": {"book": "Seaweeds"},
}
ACCEPTED_BATCH: Final[dict[str, Any]] = {
    "batch_id": BATCH_ID,
    "total": 1,
    "job_ids": [JOB_ID],
    "created": True,
    "urls": _BATCH_URLS,
}
BATCH: Final[dict[str, Any]] = {
    "id": BATCH_ID,
    "counts": {"queued": 0, "processing": 1, "completed": 0, "failed": 0, "cancelled": 0, "total": 1},
    "metadata": {"book": "Seaweeds"},
    "created_at": "2026-11-22T10:15:30.120000Z",
    "cancel_requested_at": None,
    "urls": _BATCH_URLS,
}
CANCELLED_BATCH: Final[dict[str, Any]] = {**BATCH, "cancel_requested_at": "2026-11-22T10:15:31.500000Z"}
BATCHES: Final[dict[str, Any]] = {
    "data": [BATCH],
    "has_more": False,
    "first_id": BATCH_ID,
    "last_id": BATCH_ID,
}
ACCEPTED_DOCUMENT: Final[dict[str, Any]] = {
    "job_id": JOB_ID,
    "document_id": DOCUMENT_ID,
    "status": "queued",
    "created": True,
    "urls": {"job": _JOB_URL, "document": f"/v1/documents/{DOCUMENT_ID}"},
}
DOCUMENT: Final[dict[str, Any]] = {
    "id": DOCUMENT_ID,
    "collection": "default",
    "name": "handbook.pdf",
    "is_searchable": True,
    "job_id": JOB_ID,
    "status": "completed",
    "error": None,
    "media_type": "application/pdf",
    "title": "Handbook",
    "size_bytes": 482113,
    "pages": 61,
    "chunks": 129,
    "created_at": "2026-11-22T10:15:30.118000Z",
    "ingested_at": "2026-11-22T10:15:32.890000Z",
}
DOCUMENTS: Final[dict[str, Any]] = {
    "data": [DOCUMENT],
    "has_more": False,
    "first_id": DOCUMENT_ID,
    "last_id": DOCUMENT_ID,
}
COLLECTIONS: Final[dict[str, Any]] = {
    "data": [
        {"name": "default", "documents": 1, "chunks": 129, "created_at": "2026-11-22T10:15:30.115000Z"},
    ]
}
SEARCH_RESULTS: Final[dict[str, Any]] = {
    "mode": "lexical",
    "data": [
        {
            "document_id": DOCUMENT_ID,
            "document": "handbook.pdf",
            "index": 17,
            "text": "A lease is renewed by a heartbeat, three times before it would run out.",
            "page": 9,
            "section": None,
            "score": 1.0759,
        }
    ],
}
EVENTS: Final[dict[str, Any]] = {
    "data": [
        {
            "id": 1,
            "event": "job.queued",
            "data": {"status": "queued", "attempt": 0, "created_at": "2026-11-22T10:15:30.120000Z"},
        },
        {"id": 1000000001, "event": "output.delta", "data": {"text": "Kelp grows"}},
    ],
    "has_more": False,
}
STREAM: Final = 'id: 1000000001\nevent: output.delta\ndata: {"text":"Kelp grows"}\n\n'
JOBS_STREAM: Final = (
    f'event: job.started\ndata: {{"job_id":"{JOB_ID}","task":"ingest_document",'
    '"status":"processing","attempt":1}\n\n'
)
HEALTH: Final[dict[str, Any]] = {"status": "ok"}
READINESS: Final[dict[str, Any]] = {"status": "ready", "database": "ok", "redis": "ok"}


def answers(status: int, example: dict[str, Any], **more: Any) -> dict[int | str, dict[str, Any]]:  # noqa: ANN401 - JSON
    """The `responses` of a route whose success looks like this."""
    return {status: {"content": {"application/json": {"example": example}}, **more}}
