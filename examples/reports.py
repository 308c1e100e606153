"""A report whose notes are paid for once and whose bill is written once, whatever is killed when."""

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from holdfast import Holdfast, JobContext

holdfast = Holdfast()
celery = holdfast.celery


class Note(BaseModel):
    text: str


async def ask_model(paragraph: str, idempotency_key: str) -> Note:
    _headers = {"Idempotency-Key": idempotency_key}
    return Note(text=paragraph.upper())  # here you would await a model, with these headers


async def write_bill(session: AsyncSession, customer: int, notes: int) -> None:
    bill = text("INSERT INTO public.bills (customer, notes) VALUES (:customer, :notes)")
    await session.execute(bill, {"customer": customer, "notes": notes})


@holdfast.task
async def take_notes(job: JobContext, chapter: str) -> list[Note]:
    return [
        await job.step("note", ask_model, paragraph, job.idempotency_key(f"note {number}"), key=number)
        async for number, paragraph in job.track(chapter.split("\n"))
    ]


@holdfast.task
async def report(job: JobContext, customer: int, chapters: list[str]) -> str:
    children = [await job.spawn(take_notes, chapter=chapter) for chapter in chapters]
    notes = [note.text for found in await job.gather(*children) for note in found]
    await job.transact("bill", write_bill, customer, len(notes))
    return "\n".join(notes)
