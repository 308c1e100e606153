"""What `import holdfast` gives: these names, and nothing heavy before they are used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast

NAMES = {
    "BatchAccepted",
    "Child",
    "ChildFailed",
    "ChildResult",
    "Holdfast",
    "HoldfastError",
    "IdempotencyConflict",
    "InvalidArguments",
    "JobAccepted",
    "JobCancelled",
    "JobContext",
    "JobStatus",
    "Owner",
    "PermanentError",
    "ProviderError",
    "Retry",
    "RetryPolicy",
    "Settings",
    "StaleAttempt",
    "StepChanged",
    "Task",
    "TaskKeywords",
}

# A user's module, and on each line the words of the error that mypy must report there, or nothing.
SNIPPET = """
from uuid import UUID
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from holdfast import BatchAccepted, Child, ChildResult, Holdfast, JobAccepted, JobContext, Owner
from holdfast.client import AsyncClient, AsyncJob, Client, Event, Job
from holdfast.schemas import JobView, SearchResults

holdfast = Holdfast()

@holdfast.task
def bare(job: JobContext, document_id: UUID, style: str = "short") -> str:
    return style

@holdfast.task
async def bare_async(job: JobContext, document_id: UUID, style: str = "short") -> str:
    return style

@holdfast.task(retries=5, retry_delay=1.5, backoff="exponential")
def with_keywords(job: JobContext, document_id: UUID, style: str = "short") -> str:
    return style

@holdfast.task(queue="gpu")
async def with_keywords_async(job: JobContext, document_id: UUID, style: str = "short") -> str:
    return style

@holdfast.task(retires=5)  # E: retires
def misspelled(job: JobContext) -> None: ...

def enqueue(session: Session, owner: Owner, document_id: UUID) -> None:
    accepted: JobAccepted = bare.enqueue(session, owner=owner, document_id=document_id)
    accepted = bare_async.enqueue(session, owner, document_id=document_id, style="long")
    accepted = with_keywords.enqueue(session, delay=5, document_id=document_id)
    accepted = with_keywords_async.enqueue(session, metadata={"a": [1]}, document_id=document_id)
    accepted = bare.enqueue(session, idempotency_key="order-1", document_id=document_id)
    batch: BatchAccepted = bare_async.enqueue_many(session, [{"document_id": document_id}], owner=owner)
    bare.enqueue(session, document_id=document_id, wrong=1)  # E: wrong
    bare_async.enqueue(session, document_id=document_id, wrong=1)  # E: wrong
    with_keywords.enqueue(session, document_id=document_id, wrong=1)  # E: wrong
    with_keywords_async.enqueue(session, document_id=document_id, wrong=1)  # E: wrong
    bare.enqueue(session, document_id=1)  # E: document_id
    bare_async.enqueue(session, document_id=document_id, style=3)  # E: style
    bare.enqueue(session)  # E: document_id
    bare.enqueue("session", document_id=document_id)  # E: overload

def read(document_id: UUID) -> str:
    return ""

async def count(words: str) -> int:
    return len(words)

def write(session: Session, words: str) -> int:
    return len(words)

async def write_async(session: AsyncSession, words: str) -> float:
    return len(words)

@holdfast.task
async def parent(job: JobContext, document_id: UUID) -> int:
    words: str = await job.step("read", read, document_id)
    number: int = await job.step("count", count, words=words)
    number = await job.step("count", count, words, key=number)
    number = await job.transact("write", write, words)
    exact: float = await job.transact("write", write_async, words, key="exact")
    number = await job.step("read", read, document_id)  # E: overload
    number = await job.transact("write", write_async, words)  # E: overload
    await job.step("read", read, words)  # E: overload
    await job.step("count", count)  # E: overload
    await job.transact("write", write, document_id)  # E: overload
    child: Child[str] = await job.spawn(bare, document_id=document_id)
    texts: list[str] = await job.gather(child, child)
    ended: list[ChildResult[str]] = await job.gather(child, on_failure="collect")
    number = await job.gather(child)  # E: assignment
    await job.spawn(bare, document_id=document_id, wrong=1)  # E: wrong
    async for place, text in job.track(texts):
        number, words = place, text
    return number

@holdfast.task
def sync_parent(job: JobContext, document_id: UUID) -> list[str]:
    number: int = job.step_sync("read", read, document_id)  # E: assignment
    number = job.transact_sync("write", write, "words")
    number = job.transact_sync("write", write, "words", key=1)
    job.step_sync("read", read, 1)  # E: overload
    return job.gather_sync(job.spawn_sync(bare_async, document_id=document_id))

def ask(client: Client) -> None:
    job: Job = client.submit("paint", {"wall": 3}, delay=5, metadata={"a": [1]})
    view: JobView = job.wait(timeout=5, progress=True)
    found: SearchResults = client.search("kelp", "plants", limit=3)
    events: list[Event] = list(job.events(after=7))
    shown: list[JobView] = list(client.jobs(task="paint"))
    client.submit("paint", prority=1)  # E: prority
    client.search(3)  # E: arg-type
    job.wait(timeout="5")  # E: timeout
    text: str = client.get_job(job.id)  # E: JobView

async def ask_async(client: AsyncClient) -> None:
    job: AsyncJob = await client.submit("paint", {"wall": 3}, run_at=None)
    view: JobView = await job.cancel()
    async for event in job.events():
        number: int | None = event.id
    unawaited: JobView = job.wait()  # E: Awaitable
    await client.submit("paint", prority=1)  # E: prority

async def enqueue_async(session: AsyncSession, document_id: UUID) -> JobAccepted:
    accepted: JobAccepted = await bare.enqueue(session, document_id=document_id)
    accepted = await with_keywords_async.enqueue(session, document_id=document_id)
    batch: BatchAccepted = await bare.enqueue_many(session, [{"document_id": document_id}])
    await bare_async.enqueue(session, document_id=document_id, wrong=1)  # E: wrong
    unawaited: JobAccepted = bare.enqueue(session, document_id=document_id)  # E: Awaitable
    return accepted
"""


def test_public_names_are_those_documented():
    assert set(holdfast.__all__) == NAMES
    assert set(dir(holdfast)) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_public_name_can_be_imported(name):
    assert getattr(holdfast, name).__doc__


def test_other_names_are_refused_as_ever():
    with pytest.raises(AttributeError, match="nonsense"):
        holdfast.nonsense  # noqa: B018


@pytest.mark.parametrize("module", ["holdfast", "holdfast.errors", "holdfast.documents.reading.child"])
def test_importing_little_loads_little(module):
    program = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", program], text=True))
    heavy = {"celery", "kombu", "sqlalchemy", "redis", "fastapi", "pydantic", "psycopg"}
    assert heavy.isdisjoint(loaded)


def test_importing_a_module_with_tasks_connects_to_nothing(tmp_path):
    program = "import worker_tasks; assert worker_tasks.app.tasks['add']; print('imported')"
    environment = {
        "PYTHONPATH": str(Path(__file__).parent),
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "HOLDFAST_HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "imported\n", done.stderr
    assert not (tmp_path / "home").exists()


def test_types_follow_those_of_tasks_and_steps(tmp_path):
    module = tmp_path / "user_module.py"
    module.write_text(SNIPPET)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"]
    done = subprocess.run([*mypy, str(module)], cwd=Path(__file__).parents[1], capture_output=True, text=True)

    lines = SNIPPET.splitlines()
    expected = {number: line.split("# E: ")[1] for number, line in enumerate(lines, 1) if "# E: " in line}
    reported: dict[int, str] = {}
    for line in done.stdout.splitlines():
        path, number, text = line.split(":", 2)
        assert Path(path).name == module.name, line
        reported[int(number)] = reported.get(int(number), "") + text
    assert set(reported) == set(expected), done.stdout
    assert all(words in reported[number] for number, words in expected.items()), done.stdout
