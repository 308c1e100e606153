"""The Celery application."""

from collections.abc import Callable
from typing import Any

from celery import Celery

from holdfast.celery.configuration import CelerySettings, configuration
from holdfast.celery.events import GroupedEvents


def make_celery(settings: Callable[[], CelerySettings]) -> Celery:
    """A Celery application that reads its settings when it first needs them.

    Importing it connects to nothing and starts no engine, so that `celery --help`, a linter or a test can.
    """
    app = Celery("holdfast", set_as_current=False, events=GroupedEvents)

    def defaults() -> dict[str, Any]:
        return configuration(settings())

    app.add_defaults(defaults)
    return app
