"""When a failed attempt is tried again: pure arithmetic, no clock."""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from holdfast.errors import ConfigurationError

Backoff = Literal["fixed", "exponential"]


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how far apart a failing job is tried again.

    Attributes:
        retries: further attempts after the first; 0 means one attempt only.
        delay: the wait before the first retry.
        backoff: `fixed` waits `delay` each time, `exponential` doubles it from retry to retry.
        max_delay: the longest wait `exponential` comes to.
        jitter: draw the wait uniformly from zero to its full length, so that jobs that failed together do
            not come back together ("full jitter", Brooker, AWS Architecture Blog, 2015).
        retry_on: the errors that are worth another attempt; `None` for all.
        dont_retry_on: errors that are not, even if they are among those.
    """

    retries: int = 3
    delay: timedelta = timedelta(seconds=60)
    backoff: Backoff = "fixed"
    max_delay: timedelta = timedelta(hours=1)
    jitter: bool = False
    retry_on: tuple[type[BaseException], ...] | None = None
    dont_retry_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if self.retries < 0 or min(self.delay, self.max_delay) < timedelta():
            raise ConfigurationError("retries and the delays between them are 0 or more.")
        for named in (*(self.retry_on or ()), *self.dont_retry_on):
            if not (isinstance(named, type) and issubclass(named, BaseException)):
                raise ConfigurationError(f"retry_on and dont_retry_on name exceptions, not {named!r}.")

    @property
    def max_attempts(self) -> int:
        """How many failures end the job."""
        return self.retries + 1

    def allows(self, error: BaseException) -> bool:
        """Whether an attempt that ended with this error may be followed by another."""
        if isinstance(error, self.dont_retry_on):
            return False
        return self.retry_on is None or isinstance(error, self.retry_on)

    def delay_after(self, failures: int, *, draw: float | None = None) -> timedelta:
        """The wait after the `failures`-th failure (1 for the first); `draw` in [0, 1) fixes the jitter."""
        wait = self.delay
        if self.backoff == "exponential":
            # In floats, where what a timedelta could not hold is merely larger than any maximum.
            doubled = self.delay.total_seconds() * 2.0 ** min(failures - 1, 1_000)
            wait = timedelta(seconds=min(self.max_delay.total_seconds(), doubled))
        if self.jitter:
            wait *= random.random() if draw is None else draw  # noqa: S311 - spreading load, not a secret
        return wait
