"""Why an attempt is ended from outside, and how long it is given to leave."""

from enum import StrEnum

# From the sign to leave until force is used. What needs longer to clean up is no longer cleaning up, and what
# needs longer to come to its next step or progress may not have one.
GRACE_SECONDS = 10.0


class Ending(StrEnum):
    """Why an attempt is to leave before it is done; the first that comes stays, but for `STALE`."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"
    STALE = "stale"
