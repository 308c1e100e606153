"""Durable background jobs for AI APIs, on FastAPI, Celery and PostgreSQL.

The public face: `Holdfast` to register tasks and enqueue jobs, `JobContext` for what a task sees of its job.

Names are imported when first used, so that a part that needs little, such as the client or the process that
reads a document, does not load the whole, and runs where the whole is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from holdfast.extras import server_parts

if TYPE_CHECKING:
    from holdfast.app import Holdfast, TaskKeywords
    from holdfast.errors import (
        ChildFailed,
        HoldfastError,
        IdempotencyConflict,
        InvalidArguments,
        JobCancelled,
        PermanentError,
        ProviderError,
        Retry,
        StaleAttempt,
        StepChanged,
    )
    from holdfast.jobs.accepted import BatchAccepted, JobAccepted
    from holdfast.jobs.context import JobContext
    from holdfast.jobs.keys import Owner
    from holdfast.jobs.spawning import Child, ChildResult
    from holdfast.jobs.task import Task
    from holdfast.retry import RetryPolicy
    from holdfast.settings import Settings
    from holdfast.states import JobStatus

_HOMES = {
    "BatchAccepted": "jobs.accepted",
    "Child": "jobs.spawning",
    "ChildFailed": "errors",
    "ChildResult": "jobs.spawning",
    "Holdfast": "app",
    "HoldfastError": "errors",
    "IdempotencyConflict": "errors",
    "InvalidArguments": "errors",
    "JobAccepted": "jobs.accepted",
    "JobCancelled": "errors",
    "JobContext": "jobs.context",
    "JobStatus": "states",
    "Owner": "jobs.keys",
    "PermanentError": "errors",
    "ProviderError": "errors",
    "Retry": "errors",
    "RetryPolicy": "retry",
    "Settings": "settings",
    "StaleAttempt": "errors",
    "StepChanged": "errors",
    "Task": "jobs.task",
    "TaskKeywords": "app",
}

__all__ = [
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
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with server_parts():
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
