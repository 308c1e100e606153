"""What status reads are measured against: FastAPI endpoints that do the least that shows the same row.

`/bare/...`: one SELECT in autocommit, nothing but that on the wire, and a response model. No key, no owner,
no ETag. `/usual/...`: as FastAPI's and SQLAlchemy's documentation would have it, an `AsyncSession` as a
dependency and an ORM object. Both read through the same kind of engine as Holdfast, with the same options.
"""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from functools import cache
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from holdfast.jobs.database import Database
from holdfast.jobs.models import Job
from holdfast.states import JobStatus

database = Database(lambda: os.environ["DATABASE_URL"])
table = Job.__table__
PAGE = 20


class JobRow(BaseModel):
    """The fields of a job that Holdfast shows, as they stand in the row."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    task: str
    queue: str
    status: JobStatus
    progress: dict[str, Any] | None
    result: Any
    error: dict[str, Any] | None
    metadata_: dict[str, Any] = Field(serialization_alias="metadata")
    attempt: int
    max_attempts: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    cancel_requested_at: datetime | None
    run_at: datetime


SHOWN = [
    table.c.metadata.label("metadata_") if name == "metadata_" else table.c[name]
    for name in JobRow.model_fields
]


@cache
def autocommit() -> AsyncEngine:
    return database.async_engine.execution_options(isolation_level="AUTOCOMMIT")


async def session() -> AsyncIterator[AsyncSession]:
    async with database.async_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(session)]
app = FastAPI()


@app.get("/ready")
async def ready() -> None:
    async with autocommit().connect() as connection:
        await connection.execute(select(1))


@app.get("/bare/{job_id}")
async def bare(job_id: UUID) -> JobRow:
    async with autocommit().connect() as connection:
        row = (await connection.execute(select(*SHOWN).where(table.c.id == job_id))).one_or_none()
    if row is None:
        raise HTTPException(404)
    return row


@app.get("/bare")
async def bare_list(owner_id: UUID) -> list[JobRow]:
    query = select(*SHOWN).where(table.c.owner_id == owner_id).order_by(table.c.id.desc()).limit(PAGE)
    async with autocommit().connect() as connection:
        return (await connection.execute(query)).all()


@app.get("/usual/{job_id}")
async def usual(job_id: UUID, session: Session) -> JobRow:
    job = await session.get(Job, job_id)
    if job is None:
        raise HTTPException(404)
    return job


@app.get("/usual")
async def usual_list(owner_id: UUID, session: Session) -> list[JobRow]:
    query = select(Job).where(Job.owner_id == owner_id).order_by(Job.id.desc()).limit(PAGE)
    return (await session.scalars(query)).all()
