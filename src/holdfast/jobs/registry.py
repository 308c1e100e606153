"""The tasks a process knows, by name."""

from collections.abc import Iterator
from typing import Any

from holdfast.errors import ConfigurationError, UnknownTask
from holdfast.jobs.task import Task


class Registry:
    """Tasks by name; a name is given once."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}

    def add(self, task: Task[..., Any]) -> None:
        """Register a task.

        Raises:
            ConfigurationError: the name is taken.
        """
        if task.name in self._tasks:
            raise ConfigurationError(f"There are two tasks called {task.name!r}; name= tells them apart.")
        self._tasks[task.name] = task

    def __getitem__(self, name: str) -> Task[..., Any]:
        """The task of this name; raises `UnknownTask`."""
        try:
            return self._tasks[name]
        except KeyError:
            raise UnknownTask(f"No task is called {name!r}.") from None

    def names(self) -> set[str]:
        """The names that are given."""
        return set(self._tasks)

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter(self._tasks.values())
