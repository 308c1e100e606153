"""The hub of an application, and its end in time."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from sqlalchemy import Row

from holdfast.api.events.hub import Hub
from holdfast.api.job_views import view_of
from holdfast.app import Holdfast, required

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def make_hub(holdfast: Holdfast) -> Hub:
    """The hub of an application; it connects to nothing before somebody watches."""
    return Hub(
        holdfast.database,
        lambda: required(holdfast.urls.redis_url),
        holdfast.settings.key_prefix,
        _shown,
        most=holdfast.settings.max_streams,
    )


@contextmanager
def let_go_at_shutdown(hub: Hub) -> Iterator[None]:
    """Close the hub when the server is told to end, for the length of the block.

    A server waits for its open responses before it ends the application: streams would keep it for ever. So
    the signals that the server handles are heard here first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    # What nobody handles ends the process at once.
    before = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}

    def close(number: int, stack: FrameType | None) -> None:
        loop.call_soon_threadsafe(hub.close)
        handler: Any = before[signal.Signals(number)]
        handler(number, stack)

    for number in before:
        signal.signal(number, close)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is close:
                signal.signal(number, handler)


def _shown(job: Row[Any]) -> bytes:
    return view_of(job, job.progress).model_dump_json().encode()
