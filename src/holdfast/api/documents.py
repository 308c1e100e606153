"""`/v1/documents` and `/v1/collections`: uploads, and what has become of them."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api import examples
from holdfast.api.accepting import IdempotencyKey, accepted_answers, answer_with
from holdfast.api.dependencies import Owner, Session, private
from holdfast.api.examples import answers
from holdfast.api.openapi import operation_id, problem_responses
from holdfast.api.problems import Refused
from holdfast.api.services import documents_of, services_of
from holdfast.api.uploads import DEFAULT_COLLECTION, received_upload
from holdfast.api.waiting import Prefer, answer_with_end, ended_job
from holdfast.documents.views import DocumentView
from holdfast.jobs import keys
from holdfast.schemas import (
    COLLECTION_PATTERN,
    CollectionList,
    CollectionName,
    DocumentAccepted,
    DocumentPage,
    EndedDocument,
)

# Written by hand: the endpoint reads the stream itself, so FastAPI does not know of the form.
_UPLOAD_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "contentMediaType": "application/octet-stream",
                            "description": "PDF, HTML, Markdown, text, or Office with the extra.",
                        },
                        "collection": {
                            "type": "string",
                            "pattern": COLLECTION_PATTERN,
                            "default": DEFAULT_COLLECTION,
                        },
                        "notify": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "description": "Whom to tell of the end, as for `POST /v1/jobs`.",
                        },
                    },
                },
                "example": {"file": "(the bytes of handbook.pdf)", "collection": DEFAULT_COLLECTION},
            }
        },
    }
}


def get_documents_router() -> APIRouter:
    """The routes under `/v1/documents` and `/v1/collections`, for an application with documents attached."""
    router = APIRouter(
        prefix="/v1",
        tags=["documents"],
        generate_unique_id_function=operation_id,
        dependencies=[Depends(private)],
    )
    router.post(
        "/documents/ingest",
        status_code=202,
        response_model=DocumentAccepted,
        openapi_extra=_UPLOAD_FORM,
        responses={
            **accepted_answers(examples.ACCEPTED_DOCUMENT, "job", DocumentAccepted | EndedDocument),
            **problem_responses(400, 401, 413, 415, 422, 503),
        },
    )(ingest_document)
    router.get(
        "/documents", responses={**answers(200, examples.DOCUMENTS), **problem_responses(401, 422, 503)}
    )(list_documents)
    one = "/documents/{document_id}"
    router.get(one, responses={**answers(200, examples.DOCUMENT), **problem_responses(401, 404, 422, 503)})(
        get_document
    )
    router.delete(one, status_code=204, responses=problem_responses(401, 404, 422, 503))(delete_document)
    router.get(
        "/collections", responses={**answers(200, examples.COLLECTIONS), **problem_responses(401, 503)}
    )(list_collections)
    router.delete("/collections/{name}", status_code=204, responses=problem_responses(401, 404, 422, 503))(
        delete_collection
    )
    return router


async def ingest_document(
    request: Request,
    response: Response,
    owner: Owner,
    session: Session,
    key: IdempotencyKey,
    prefer: Prefer = None,
) -> DocumentAccepted | Response:
    """Upload a document into a collection; a job makes it searchable. A document of the same name in the
    collection is replaced once the new one has been read. An `Idempotency-Key` stands for name, collection
    and content.
    """  # noqa: D205 - shown whole as the operation's description
    accepted = await accept_upload(request, response, owner, session, key)
    job = await ended_job(request, accepted.job_id, prefer)
    if job is None:
        return accepted
    return answer_with_end(EndedDocument(**{**dict(accepted), "status": job.status}, job=job), prefer)


async def accept_upload(
    request: Request, response: Response, owner: keys.Owner, session: AsyncSession, key: str | None
) -> DocumentAccepted:
    """Store the document that a request brings, and have a job ingest it; commits."""
    documents = documents_of(request)
    max_bytes = services_of(request).holdfast.settings.max_upload_bytes
    async with received_upload(request, documents.storage, max_bytes=max_bytes) as received:
        accepted = await documents.accept(
            session,
            owner,
            received.upload,
            name=received.name,
            collection=received.collection,
            idempotency_key=key,
            notify=received.notify,
        )
        # Committed here, so that the file is removed if this fails. It fails rarely after the fact: the job
        # then finds no file and says so, and the client, told to try again, sends another.
        await session.commit()
    if not accepted.job.created:
        await documents.discard(received.upload)
    job = answer_with(response, accepted.job)
    return DocumentAccepted(
        job_id=job.job_id,
        document_id=accepted.document_id,
        status=job.status,
        created=job.created,
        urls={**job.urls, "document": f"/v1/documents/{accepted.document_id}"},
    )


async def list_documents(
    request: Request,
    owner: Owner,
    session: Session,
    collection: CollectionName | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[UUID | None, Query(description="Continue with documents older than this.")] = None,
) -> DocumentPage:
    """The documents of this API key, newest first."""
    found = await documents_of(request).list(
        session, owner, collection=collection, limit=limit + 1, before=before
    )
    shown = list(found[:limit])
    return DocumentPage(
        data=shown,
        has_more=len(found) > limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


async def get_document(document_id: UUID, request: Request, owner: Owner, session: Session) -> DocumentView:
    """A document, whether it can be searched, and what became of its latest upload."""
    document = await documents_of(request).get(session, owner, document_id)
    if document is None:
        raise _no_document()
    return document


async def delete_document(document_id: UUID, request: Request, owner: Owner, session: Session) -> None:
    """Delete a document with all that was made of it; a job that still ingests it is cancelled."""
    if not await documents_of(request).delete(session, owner, document_id):
        raise _no_document()


async def list_collections(request: Request, owner: Owner, session: Session) -> CollectionList:
    """The collections of this API key, by name."""
    return CollectionList(data=list(await documents_of(request).collections(session, owner)))


async def delete_collection(
    name: Annotated[str, Path(pattern=COLLECTION_PATTERN)], request: Request, owner: Owner, session: Session
) -> None:
    """Delete a collection with all its documents."""
    if not await documents_of(request).delete_collection(session, owner, name):
        raise Refused("collection_not_found", "This API key has no collection of this name.")


def _no_document() -> Refused:
    return Refused("document_not_found", "This API key has no document with this id.")
