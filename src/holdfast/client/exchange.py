"""One request until it is answered: again after a pause while what went wrong may pass."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Concatenate, ParamSpec

import httpx

from holdfast.client.effects import Call, Pause, Plan, T, send
from holdfast.client.refusals import error_of, is_passing, retry_after
from holdfast.errors import ApiUnreachable
from holdfast.retry import RetryPolicy

P = ParamSpec("P")

# From half a second to eight, drawn at random: whom one outage has hit do not come back together.
_BACKOFF = RetryPolicy(
    backoff="exponential", delay=timedelta(seconds=0.5), max_delay=timedelta(seconds=8), jitter=True
)


class Patience:
    """For how long a client puts up with failures in a row.

    Args:
        seconds: from the first of them on; with 0 nothing is tried again.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._failures = 0
        self._gives_up_at = 0.0

    def reset(self) -> None:
        """It went well: the next failure is a first one."""
        self._failures = 0

    def pause_after(self, error: Exception, at_least: float = 0.0) -> float:
        """How many seconds to wait before another try; raises the error when patience is at its end."""
        now = time.monotonic()
        if not self._failures:
            self._gives_up_at = now + self._seconds
        self._failures += 1
        pause = max(at_least, _BACKOFF.delay_after(self._failures).total_seconds())
        if now + pause > self._gives_up_at:
            raise error
        return pause


def exchange(call: Call[T], patience: Patience) -> Plan[T]:
    """What the API answers.

    Raises:
        ApiUnreachable: it did not answer, for as long as the patience lasts.
        HoldfastError: it refused, or could not do it for as long as the patience lasts.
    """
    while True:
        try:
            response = yield from send(call.request)
        except httpx.TransportError as error:
            yield Pause(patience.pause_after(unreachable(error)))
            continue
        if response.is_success:
            patience.reset()
            return call.read(response)
        yield Pause(pause_after_refusal(response, patience))


def planned(build: Callable[P, Call[T]]) -> Callable[Concatenate[Patience, P], Plan[T]]:
    """The plan that makes a call."""

    @wraps(build)
    def plan(patience: Patience, /, *args: P.args, **kwargs: P.kwargs) -> Plan[T]:
        return exchange(build(*args, **kwargs), patience)

    return plan


def pause_after_refusal(response: httpx.Response, patience: Patience) -> float:
    """How many seconds to wait before another try; raises the refusal if another cannot help."""
    error = error_of(response)
    if not is_passing(response):
        raise error
    asked = retry_after(response)
    return patience.pause_after(error, asked.total_seconds() if asked else 0.0)


def unreachable(error: httpx.TransportError) -> ApiUnreachable:
    """What a failure of transport means to a caller."""
    where = f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
    told = ApiUnreachable(f"{where} does not answer ({error or type(error).__name__}).")
    told.__cause__ = error
    return told
