"""Celery tasks for Holdfast's: one class for each."""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from holdfast.celery.job_task import JobTask
from holdfast.celery.loop_task import LoopTask
from holdfast.celery.results import JobBackend, ResultWriter
from holdfast.jobs.loop_runner import LoopRunner
from holdfast.jobs.outcome import Decision
from holdfast.jobs.process import PerProcess
from holdfast.jobs.runner import Runner
from holdfast.jobs.task import Task
from holdfast.jobs.workers import Worker


@dataclass(frozen=True)
class TaskParts:
    """What runs the jobs of all tasks.

    Attributes:
        ended_by_force: what was decided of an attempt that did not leave, by the job's id, from before its
            process is killed.
    """

    runner: Runner
    loop_runner: LoopRunner
    results: PerProcess[ResultWriter]
    worker: Callable[[], Worker]
    ended_by_force: MutableMapping[str, Decision]


def celery_task(definition: Task[..., Any], parts: TaskParts) -> JobTask:
    """The Celery task that runs jobs of a Holdfast task."""
    attributes = {
        "name": definition.name,
        "definition": definition,
        "runner": parts.runner,
        "loop_runner": parts.loop_runner,
        "results": parts.results,
        "backend": JobBackend(parts.results),
        "worker": staticmethod(parts.worker),
        "ended_by_force": parts.ended_by_force,
        "claims": parts.runner.claims,
        "cpu_bound": definition.options.cpu_bound,
        "abstract": False,
        "__doc__": definition.__doc__,
    }
    kind = LoopTask if definition.is_async and not definition.options.cpu_bound else JobTask
    made: JobTask = type(definition.name, (kind,), attributes)()
    return made
