"""What the commands tell scripts by their exit codes."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of all commands; `docs/cli.md` lists them."""

    DONE = 0
    ERROR = 1
    """It could not be done, or some of many could not; what was wrong is on stderr."""
    MISUSE = 2
    """The command was called wrongly; Click's own."""
    NOT_WELL = 3
    """What was asked about did not come out well: the job failed, a worker takes no jobs."""
    GONE = 4
    """What was asked about is not there any more: the job was cancelled, no worker lives."""
    NOT_YET = 5
    """The time to wait is over, and the job goes on."""
    INTERRUPTED = 130
    """Ctrl-C."""
