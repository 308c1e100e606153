"""When a task is to be run by the clock: the ticks of a cron expression in a time zone. Reads no clock.

Daylight saving as in Debian's cron, which `cronsim` follows: a time of day that is skipped is made up for
right after the gap, and one that comes twice counts once. Expressions whose minute or hour begins with `*`
follow the hours that really pass: none is made up for, and those that come twice count twice. Which moments
are ticks never depends on where one starts to look.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from holdfast.errors import ConfigurationError

Missed = Literal["latest", "all", "skip"]

MAX_MISSED = 1_000
# Where ticks are skipped, one that is older was missed.
PUNCTUAL = timedelta(minutes=1)
# How far to look back for the newest ticks, again and again until there are enough. Forward from there, as
# cronsim's own way back misses a tick while its time of day comes for the second time.
_LOOKS_BACK = (timedelta(hours=1), timedelta(days=2), timedelta(days=70), timedelta(days=800))
_FIELDS = 5
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields in a time zone, and what becomes of ticks that nobody was there for.

    Attributes:
        expression: minute, hour, day of month, month, day of week.
        timezone: an IANA name, such as `Europe/Paris`.
        missed: `latest` makes up for the last missed tick only, `all` for each of the last 1,000, `skip` for
            none that is older than a minute.
    """

    expression: str
    timezone: str = "UTC"
    missed: Missed = "latest"
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zone", _zone(self.timezone))
        if self.missed not in get_args(Missed):
            raise ConfigurationError(f"missed is one of {', '.join(get_args(Missed))}, not {self.missed!r}.")
        if len(self.expression.split()) != _FIELDS:
            raise ConfigurationError(f"cron {self.expression!r} must have five fields, such as '0 3 * * *'.")
        try:
            next(self._ticks(datetime.now(UTC)))
        except CronSimError as error:
            raise ConfigurationError(f"cron {self.expression!r} cannot be read: {error}.") from error
        except StopIteration:
            raise ConfigurationError(f"cron {self.expression!r} names a day that never comes.") from None

    def next_tick(self, after: datetime) -> datetime:
        """The first tick after this moment, in UTC."""
        return next(self._ticks(after))

    def is_tick(self, moment: datetime) -> bool:
        """Whether this very moment is a tick."""
        return self.next_tick(moment - timedelta(seconds=1)) == moment

    def due_ticks(self, after: datetime, now: datetime) -> list[datetime]:
        """The ticks after `after` and until `now` that are to be run now, in UTC, earliest first."""
        match self.missed:
            case "latest":
                return self._newest(after, now, 1)
            case "all":
                return self._newest(after, now, MAX_MISSED)
            case "skip":
                return self._newest(max(after, now - PUNCTUAL), now, 1)

    def _newest(self, after: datetime, now: datetime, limit: int) -> list[datetime]:
        for length in _LOOKS_BACK:
            start = max(after, now - length)
            found = self._between(start, now)
            if start == after or len(found) >= limit:
                return found[-limit:]
        return self._between(after, now)[-limit:]

    def _between(self, start: datetime, end: datetime) -> list[datetime]:
        return list(takewhile(lambda tick: tick <= end, self._ticks(start)))

    def _ticks(self, after: datetime) -> Iterator[datetime]:
        minute, hour, *_ = self.expression.split()
        counted = minute.startswith("*") or hour.startswith("*")
        found = self._counted_ticks(after) if counted else self._named_ticks(after)
        # Begun in an hour that comes for the second time, both give times that came before.
        return (tick for tick in found if tick > after)

    def _named_ticks(self, after: datetime) -> Iterator[datetime]:
        return (tick.astimezone(UTC) for tick in CronSim(self.expression, after.astimezone(self._zone)))

    def _counted_ticks(self, after: datetime) -> Iterator[datetime]:
        # `cronsim` is asked without a zone: within one it leaps by whole hours, past times of day where a
        # clock is put back by half of one (Lord Howe), and takes a midnight that is skipped for a tick.
        again: deque[datetime] = deque()
        for time in CronSim(self.expression, self._earliest(after)):
            first, second = (time.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            if first.astimezone(self._zone).replace(tzinfo=None) != time:
                continue
            while again and again[0] < first:
                yield again.popleft()
            yield first
            if second != first:
                again.append(second)
        yield from again

    def _earliest(self, after: datetime) -> datetime:
        """The earliest time of day that may come after this moment: the clock may be put back soon."""
        return min(
            (after + ahead).astimezone(self._zone).replace(tzinfo=None) - ahead
            for ahead in (timedelta(), _DAY)
        )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(f"There is no timezone {name!r}; give one like 'Europe/Paris'.") from error
