"""A FastAPI application of one's own, with one slow task."""

import asyncio

from fastapi import FastAPI
from pydantic import BaseModel

from holdfast import Holdfast, JobAccepted, JobContext
from holdfast.api import Owner, Session, attach, get_jobs_router

holdfast = Holdfast()  # from the environment; embedded engines if nothing is set
celery = holdfast.celery


class Summary(BaseModel):
    text: str
    words: int


@holdfast.task(retries=3, retry_delay=60)
async def summarize(job: JobContext, text: str) -> Summary:
    words = text.split()
    for done in range(0, len(words), 10):
        await asyncio.sleep(0.1)  # here you would await a model
        job.progress(done, len(words), "reading")
    return Summary(text=" ".join(words[:10]), words=len(words))


class SummaryRequest(BaseModel):
    text: str


app = FastAPI()
attach(app, holdfast)
app.include_router(get_jobs_router())


@app.post("/v1/summaries", status_code=202)
async def create(body: SummaryRequest, owner: Owner, session: Session) -> JobAccepted:
    return await summarize.enqueue(session, owner=owner, text=body.text)
    # committed with your own rows, or not at all
