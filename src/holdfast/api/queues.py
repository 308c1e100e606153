"""`/v1/queues` and `/v1/workers`: for who runs the whole, with a key of the scope `admin`."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from sqlalchemy.orm import Session as SyncSession
from starlette.requests import Request

from holdfast.api.dependencies import Session, administrator, private
from holdfast.api.examples import answers
from holdfast.api.openapi import operation_id, problem_responses
from holdfast.api.services import reading, services_of
from holdfast.jobs import queues, workers
from holdfast.schemas import QueueList, QueueView, StorableText, WorkerList, WorkerView

QueueName = Annotated[
    StorableText, Path(min_length=1, max_length=200, description="Also of a queue to come.")
]

_QUEUE: Final[dict[str, Any]] = {
    "name": "default",
    "queued": 1204,
    "processing": 2,
    "oldest_wait_seconds": 41.8,
    "workers": 1,
    "paused_at": None,
}
_WORKER: Final[dict[str, Any]] = {
    "name": "worker-1:7:9c2f01ab",
    "host": "worker-1",
    "pid": 7,
    "pool": "prefork",
    "queues": ["default"],
    "running": 2,
    "concurrency": 2,
    "is_consuming": True,
    "is_stopping": False,
    "started_at": "2026-11-22T08:00:00.400000Z",
    "heartbeat_at": "2026-11-22T10:15:30.900000Z",
    "heartbeat_age_seconds": 0.4,
}


def get_queues_router() -> APIRouter:
    """The routes `/v1/queues` and `/v1/workers`, for an application that `attach` was called for."""
    guards = [Depends(administrator), Depends(private)]
    router = APIRouter(
        prefix="/v1", tags=["queues"], generate_unique_id_function=operation_id, dependencies=guards
    )
    problems = problem_responses(401, 403, 503)
    router.get("/queues", responses={**answers(200, {"data": [_QUEUE]}), **problems})(list_queues)
    router.get("/workers", responses={**answers(200, {"data": [_WORKER]}), **problems})(list_workers)
    paused = {**_QUEUE, "paused_at": "2026-11-22T10:15:31.500000Z"}
    changing = problem_responses(401, 403, 422, 503)
    router.post("/queues/{name}/pause", responses={**answers(200, paused), **changing})(pause_queue)
    router.post("/queues/{name}/resume", responses={**answers(200, _QUEUE), **changing})(resume_queue)
    return router


async def list_queues(request: Request) -> QueueList:
    """Every queue that has jobs, workers or a pause."""
    async with reading(services_of(request).holdfast.database) as session:
        found = await session.run_sync(queues.list_queues)
    return QueueList(data=[QueueView.model_validate(queue) for queue in found])


async def list_workers(request: Request) -> WorkerList:
    """The workers that have lately said that they live."""
    async with reading(services_of(request).holdfast.database) as session:
        found = await session.run_sync(workers.list_workers)
    return WorkerList(data=[WorkerView.model_validate(worker) for worker in found])


async def pause_queue(name: QueueName, session: Session) -> QueueView:
    """Start no more jobs of a queue; those that run run on. Harmless to repeat."""

    def change(sync: SyncSession) -> queues.Queue:
        queues.pause(sync, name)
        return queues.get_queue(sync, name)

    return QueueView.model_validate(await session.run_sync(change))


async def resume_queue(name: QueueName, session: Session) -> QueueView:
    """Start jobs of a queue again, within a second. Harmless to repeat."""

    def change(sync: SyncSession) -> queues.Queue:
        queues.resume(sync, name)
        return queues.get_queue(sync, name)

    return QueueView.model_validate(await session.run_sync(change))
