"""`/healthz` and `/readyz`, for whatever watches over the process."""

import asyncio
from typing import Final

from fastapi import APIRouter
from sqlalchemy import func, select
from starlette.requests import Request

from holdfast.api import examples
from holdfast.api.examples import answers
from holdfast.api.openapi import operation_id, problem_responses
from holdfast.api.problems import Refused
from holdfast.api.services import reading, services_of
from holdfast.jobs.database import Database
from holdfast.jobs.models import SCHEMA, Job
from holdfast.schemas import Health, Readiness

_PATIENCE_SECONDS: Final = 2


def get_health_router() -> APIRouter:
    """The routes `/healthz` and `/readyz`, which need no key."""
    router = APIRouter(tags=["health"], generate_unique_id_function=operation_id)
    router.get("/healthz", responses=answers(200, examples.HEALTH))(healthz)
    router.get("/readyz", responses={**answers(200, examples.READINESS), **problem_responses(503)})(readyz)
    return router


async def healthz() -> Health:
    """The process is up."""
    return Health()


async def readyz(request: Request) -> Readiness:
    """The database answers and has its tables. Redis is reported, and not required."""
    holdfast = services_of(request).holdfast
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            has_tables = await _has_tables(holdfast.database)
    except TimeoutError as error:
        detail = f"The database did not answer within {_PATIENCE_SECONDS} s."
        raise Refused("database_unavailable", detail) from error
    if not has_tables:
        raise Refused("database_unavailable", "The database has no tables yet: run `holdfast migrate`.")
    reachable = await holdfast.progress.is_reachable()
    return Readiness(redis="ok" if reachable else "unreachable")


async def _has_tables(database: Database) -> bool:
    async with reading(database) as session:
        found = await session.scalar(select(func.to_regclass(f"{SCHEMA}.{Job.__tablename__}")))
    return found is not None
