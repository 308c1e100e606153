"""Celery carries the jobs: `celery -A holdfast.celery worker` runs Holdfast's own backend.

`holdfast.celery.app` is the Celery application of the backend that `holdfast.server` composes. It is looked
up when asked for: this layer lies below the server, and code that builds on it must not import the backend.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

    app: Celery


def __getattr__(name: str) -> "Celery":
    if name == "app":
        celery: Celery = import_module("holdfast.server").holdfast.celery
        return celery
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
