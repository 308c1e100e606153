"""A bar that shows how far a job is, in a terminal or a notebook."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.schemas import JobProgress
from holdfast.terminal import as_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
COLOURS = {
    "queued": "yellow",
    "processing": "blue",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}


class Bar(Protocol):
    """What shows a job's status and progress."""

    def show(self, status: str, progress: JobProgress | None) -> None:
        """Show this from now on; without progress, what was shown of it stays."""


@contextmanager
def open_bar() -> Iterator[Bar]:
    """A bar for the length of the block, where there is somebody to see it: in the notebook, or on stderr."""
    if (notebook := _notebook()) is not None:
        yield NotebookBar(notebook)
        return
    with terminal_progress() as progress:
        yield TerminalBar(progress)


def terminal_progress(console: "Console | None" = None) -> "Progress":
    """Rich's progress display as all bars of Holdfast look, on stderr if no console is given."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console or Console(stderr=True),
    )


class TerminalBar:
    """A line of a terminal."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._bar = progress.add_task("queued", total=None, note="")

    def show(self, status: str, progress: JobProgress | None) -> None:
        """Draw the line."""
        self._progress.update(self._bar, description=f"[{COLOURS[status]}]{status}[/]")
        if progress is not None:
            note = as_text(progress.message or "")
            self._progress.update(self._bar, completed=progress.current, total=progress.total, note=note)


class NotebookBar:
    """An HTML progress element, which a notebook shows under the cell."""

    def __init__(self, display: Any) -> None:  # noqa: ANN401 - IPython's own, which is not installed along
        self._progress = JobProgress(current=0)
        self._handle = display(_Html(_bar("queued", self._progress)), display_id=True)

    def show(self, status: str, progress: JobProgress | None) -> None:
        """Replace the element."""
        self._progress = progress or self._progress
        self._handle.update(_Html(_bar(status, self._progress)))


class _Html:
    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


def _bar(status: str, progress: JobProgress) -> str:
    share = f" value='{progress.current}' max='{progress.total}'" if progress.total else ""
    counted = f"{progress.current}/{progress.total}" if progress.total else ""
    told = " ".join(part for part in (status, counted, progress.message or "") if part)
    return f"<progress{share}></progress> {escape(told)}"


def _notebook() -> Any | None:  # noqa: ANN401 - IPython's own
    """IPython's `display`, if this runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    # A kernel has no terminal of its own; the shell in a terminal has.
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display
