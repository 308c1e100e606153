"""What reads and submission are measured against: FastAPI endpoints that do the least for the same answer.

`/bare...`: one SELECT in autocommit, or one INSERT and its COMMIT, and models of request and response. No
key, no owner, no ETag. `/usual...`: as FastAPI's and SQLAlchemy's documentation would have it, an
`AsyncSession` as a dependency and an ORM object. Both use the same kind of engine as Holdfast, with the same
options; what they are given they write into a table of their own that has one index.
"""

import os
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import DateTime, func, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from holdfast.jobs.database import Database
from holdfast.jobs.models import Job
from holdfast.states import JobStatus

database = Database(lambda: os.environ["DATABASE_URL"])
table = Job.__table__
PAGE = 20


class Base(DeclarativeBase):
    pass


class Submitted(Base):
    """Work that was asked for, as an application would note it down."""

    __tablename__ = "submitted"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    task: Mapped[str]
    args: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(default="queued")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Arguments(BaseModel):
    """What the task takes; that of `benchmarks.submitted_app` takes the same."""

    document_id: UUID
    wall: int
    colours: list[str] = []


class SubmitRequest(BaseModel):
    task: str
    args: Arguments


class ManyRequest(BaseModel):
    task: str
    jobs: list[Arguments]


class Accepted(BaseModel):
    job_id: UUID
    status: str = "queued"


class ManyAccepted(BaseModel):
    job_ids: list[UUID]


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


INSERT = insert(Submitted)


def rows_of(task: str, jobs: Sequence[Arguments]) -> list[dict[str, Any]]:
    """Rows of `Submitted`, for one INSERT of them all."""
    return [
        {"id": uuid4(), "task": task, "args": job.model_dump(mode="json"), "status": "queued"} for job in jobs
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


@app.post("/bare", status_code=202)
async def bare_submit(body: SubmitRequest) -> Accepted:
    job_id = uuid4()
    values = {"id": job_id, "task": body.task, "args": body.args.model_dump(mode="json"), "status": "queued"}
    async with database.async_engine.begin() as connection:
        await connection.execute(INSERT, values)
    return Accepted(job_id=job_id)


@app.post("/usual", status_code=202)
async def usual_submit(body: SubmitRequest, session: Session) -> Accepted:
    job = Submitted(task=body.task, args=body.args.model_dump(mode="json"))
    session.add(job)
    await session.commit()
    return Accepted(job_id=job.id)


@app.post("/bare/many", status_code=202)
async def bare_submit_many(body: ManyRequest) -> ManyAccepted:
    rows = rows_of(body.task, body.jobs)
    async with database.async_engine.begin() as connection:
        await connection.execute(INSERT, rows)
    return ManyAccepted(job_ids=[row["id"] for row in rows])
