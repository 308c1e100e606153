"""Letting an application that exists already work with the engines of a test."""

from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.app import Holdfast
from holdfast.settings import Settings


@contextmanager
def pointed_at(holdfast: Holdfast, settings: Settings) -> Iterator[Holdfast]:
    """Let a `Holdfast` that a module has made use these settings for the length of the block.

    Its database follows at once. Celery reads its settings only once: the first block decides which Redis
    and which key prefix it publishes to, so give all tests of a run the same (`holdfast_settings` does). A
    message of an earlier test finds no job, and ends there.
    """
    before, urls = holdfast.settings, holdfast.__dict__.pop("urls", None)
    holdfast.settings = settings
    holdfast.database.close()
    try:
        yield holdfast
    finally:
        holdfast.database.close()
        holdfast.settings = before
        holdfast.__dict__.pop("urls", None)
        if urls is not None:
            holdfast.__dict__["urls"] = urls
