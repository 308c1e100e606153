"""Celery's events of tasks, sent together a few times a second.

Celery sends those of each turn of the worker's loop: under load a message for every job, and each costs as
much as a dozen events. Several events in one message is what Flower and Celery's own receivers know already.
"""

from typing import Any

from celery import bootsteps
from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher

SEND_SECONDS = 0.2
# Events that wait for that at most. Whoever has one more sends them, though it be the event loop: by then the
# broker has not answered for seconds, and a worker without a broker ends itself.
MOST_WAITING = 20_000


class GroupedDispatcher(EventDispatcher):
    """Keeps the events of tasks until `FlushEvents` has them sent."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
        super().__init__(*args, **{**options, "on_send_buffered": None, "buffer_limit": MOST_WAITING})


class GroupedEvents(Events):
    """What `Celery(events=...)` is given."""

    dispatcher_cls = f"{__name__}:{GroupedDispatcher.__name__}"


class FlushEvents(bootsteps.StartStopStep):
    """A bootstep of Celery's consumer that has the events sent that wait."""

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
        super().__init__(parent, **options)
        self._timer: Any = None

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """Connected, for the first time or again."""
        if parent.hub is not None:  # where there is none, nothing waits
            self._timer = parent.timer.call_repeatedly(SEND_SECONDS, parent.on_send_event_buffered)

    def stop(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """The worker ends, or has lost its broker; what cannot be sent is kept by Celery until it can."""
        if self._timer is not None:
            self._timer.cancel()
            parent.event_dispatcher.flush()
