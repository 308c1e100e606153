"""The path of headings above a text."""

from holdfast.documents.reading.cleaning import clean_line


class HeadingPath:
    """Where in the outline of a document the reader is."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> None:
        """Begin a section; those of its level (1 is the top) or deeper end, even for an empty title."""
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        if line := clean_line(title):
            self._open.append((level, line))

    @property
    def section(self) -> str | None:
        """The path, such as `Install > Linux`, or `None` before the first heading."""
        return " > ".join(title for _, title in self._open) or None
