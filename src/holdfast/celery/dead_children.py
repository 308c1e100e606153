"""The slots of a prefork pool's children that were killed."""

from typing import Any

from celery import bootsteps

# How often a worker looks for children that have died: it is a system call for each child.
LOOK_SECONDS = 0.5


class ReplaceDeadChildren(bootsteps.StartStopStep):
    """A bootstep of Celery's consumer: the slot of a child that was killed is soon another child's.

    Celery sees that the pipe to a child is closed, and looks once which children have died. On a busy machine
    the pipe of a child closes a moment before it counts as dead; Celery then looks again within five seconds,
    and meanwhile the slot is lost.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
        super().__init__(parent, **options)
        self._timer: Any = None

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """Connected, for the first time or again."""
        # Pools without children have no such thing.
        if (look := getattr(parent.pool, "maintain_pool", None)) is not None:
            self._timer = parent.timer.call_repeatedly(LOOK_SECONDS, look)

    def stop(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """About to end in order, or already disconnected."""
        if self._timer is not None:
            parent.timer.cancel(self._timer)
