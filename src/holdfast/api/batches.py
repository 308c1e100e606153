"""`/v1/batches`: many jobs asked for in one request."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session as SyncSession
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api import examples
from holdfast.api.accepting import IdempotencyKey, accepted_answers, answer_with
from holdfast.api.dependencies import Owner, Session, private
from holdfast.api.examples import answers
from holdfast.api.job_views import checked
from holdfast.api.limited_bodies import read_body
from holdfast.api.openapi import operation_id, problem_responses
from holdfast.api.problems import Refused
from holdfast.api.services import reading, services_of
from holdfast.api.submission import exposed_task, located, options_of
from holdfast.api.waiting import Prefer, answer_with_end, batch_has_ended
from holdfast.jobs import batches, keys, store
from holdfast.jobs.accepted import BatchAccepted
from holdfast.jobs.batches import CountedBatch, NewItem
from holdfast.schemas import BatchPage, BatchRequest, BatchView, EndedBatch

# 10,000 jobs with 1.6 kB of arguments each.
MAX_BATCH_BYTES: Final = 16_000_000
# Jobs that are cancelled in one transaction: their rows are locked for some milliseconds only.
_CANCELLED_TOGETHER: Final = 1_000


def get_batches_router() -> APIRouter:
    """The routes under `/v1/batches`, for an application that `attach` was called for."""
    router = APIRouter(
        prefix="/v1/batches",
        tags=["batches"],
        generate_unique_id_function=operation_id,
        dependencies=[Depends(private)],
    )
    router.post(
        "",
        status_code=202,
        response_model=BatchAccepted,
        openapi_extra=_request_body(),
        responses={
            **accepted_answers(examples.ACCEPTED_BATCH, "batch", BatchAccepted | EndedBatch),
            **problem_responses(400, 401, 404, 413, 422, 503),
        },
    )(submit_batch)
    router.get("", responses={**answers(200, examples.BATCHES), **problem_responses(401, 422, 503)})(
        list_batches
    )
    of_one_batch = problem_responses(401, 403, 404, 422, 503)
    router.get("/{batch_id}", responses={**answers(200, examples.BATCH), **of_one_batch})(get_batch)
    router.post(
        "/{batch_id}/cancel",
        status_code=202,
        responses={**answers(202, examples.CANCELLED_BATCH), **of_one_batch},
    )(cancel_batch)
    return router


async def submit_batch(
    request: Request,
    response: Response,
    owner: Owner,
    session: Session,
    key: IdempotencyKey,
    prefer: Prefer = None,
) -> BatchAccepted | Response:
    """Ask for up to 10,000 jobs of one task at once: all of them are accepted, or none. Only tasks that the
    application has exposed can be asked for.
    """  # noqa: D205 - shown whole as the operation's description
    body = await read_body(request, BatchRequest, max_bytes=MAX_BATCH_BYTES)
    task = exposed_task(request, body.task)
    options = options_of(body, owner, key)
    items = [NewItem(job.args, job.metadata) for job in body.jobs]
    with located("body", "jobs"):
        # In a thread: checking so many takes a while, in which other requests are answered.
        batch = await run_in_threadpool(
            task.new_batch, items, options, metadata=body.metadata, notify=body.notify
        )
    accepted = await session.run_sync(task.submit_batch, batch)
    # Committed here, so that its jobs can be waited for.
    await session.commit()
    if await batch_has_ended(request, owner.id, accepted.batch_id, prefer):
        ended = await session.run_sync(_owned, owner, accepted.batch_id)
        return answer_with_end(EndedBatch(**dict(accepted), batch=_view(ended)), prefer)
    return answer_with(response, accepted)


async def list_batches(
    request: Request,
    owner: Owner,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[UUID | None, Query(description="Continue with batches older than this.")] = None,
) -> BatchPage:
    """The batches of this API key, newest first."""
    async with reading(services_of(request).holdfast.database) as session:
        found = await session.run_sync(batches.list_batches, owner.id, limit=limit + 1, before=before)
    shown = [_view(batch) for batch in found[:limit]]
    return BatchPage(
        data=shown,
        has_more=len(found) > limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


async def get_batch(batch_id: UUID, request: Request, owner: Owner) -> BatchView:
    """How many jobs of a batch stand how; the jobs themselves are at `/v1/jobs?batch_id=`."""
    async with reading(services_of(request).holdfast.database) as session:
        return _view(await session.run_sync(_owned, owner, batch_id))


async def cancel_batch(batch_id: UUID, response: Response, owner: Owner, session: Session) -> BatchView:
    """Ask all jobs of a batch to stop. Queued jobs are cancelled at once, processing ones when their tasks
    notice; finished jobs are left alone. Asking again changes nothing.
    """  # noqa: D205 - shown whole as the operation's description
    await session.run_sync(_owned, owner, batch_id)
    await session.run_sync(batches.request_cancel, batch_id)
    while await session.run_sync(store.cancel_some, batch_id, limit=_CANCELLED_TOGETHER):
        await session.commit()
    response.headers["Location"] = f"/v1/batches/{batch_id}"
    return _view(await session.run_sync(_owned, owner, batch_id))


def _owned(session: SyncSession, owner: keys.Owner, batch_id: UUID) -> CountedBatch:
    found = batches.get_batch(session, batch_id)
    if found is None:
        raise Refused("batch_not_found", "No batch has this id.")
    checked(found.batch, owner, "The batch belongs to another API key.")
    return found


def _view(found: CountedBatch) -> BatchView:
    batch, url = found.batch, f"/v1/batches/{found.batch.id}"
    return BatchView.model_validate(
        {
            "id": batch.id,
            "counts": {**found.counts, "total": batch.total},
            "metadata": batch.metadata_,
            "created_at": batch.created_at,
            "cancel_requested_at": batch.cancel_requested_at,
            "urls": {"batch": url, "jobs": f"/v1/jobs?batch_id={batch.id}", "cancel": f"{url}/cancel"},
        }
    )


def _request_body() -> dict[str, Any]:
    """The body as it is documented: the endpoint reads it itself, so FastAPI does not know of it."""
    schema = BatchRequest.model_json_schema()
    # In here, references of the schema's own would lead nowhere.
    schema["properties"]["jobs"]["items"] = schema.pop("$defs")["BatchItem"]
    content = {"application/json": {"schema": schema, "example": examples.BATCH_REQUEST}}
    return {"requestBody": {"required": True, "content": content}}
