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
from holdfast import BatchAccepted, Holdfast, JobAccepted, JobContext, Owner

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


def test_types_of_enqueue_follow_those_of_the_task(tmp_path):
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
