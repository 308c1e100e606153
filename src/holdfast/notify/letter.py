"""What a mail says of a job or a batch: a subject, text, and the same as HTML."""

from collections.abc import Iterator
from html import escape
from typing import Any, Final

from holdfast.notify.channel import Notice

_MAX_SUBJECT: Final = 150
_STYLE: Final = "font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 38em"
_CELL: Final = "padding: 2px 12px 2px 0; vertical-align: top"


def subject_of(notice: Notice) -> str:
    """One line, whatever the names in it hold."""
    data = notice.data
    match notice.event.partition(".")[0]:
        case "job":
            said = f"{data['task']} {data['status']}"
        case "batch":
            said = f"Batch of {data['total']} jobs: {_counted(data['counts'])}"
        case _:
            said = notice.event
    return " ".join("".join(c if c.isprintable() else " " for c in said).split())[:_MAX_SUBJECT]


def written_text(notice: Notice, link: str | None) -> str:
    """The mail as plain text."""
    lines = [notice.summary, "", *(f"{name}: {value}" for name, value in _facts(notice.data))]
    if url := _url(notice, link):
        lines += ["", url]
    return "\n".join(lines) + "\n"


def written_html(notice: Notice, link: str | None) -> str:
    """The mail as HTML. Everything in it is text: names, messages and errors may hold anything."""
    rows = "".join(
        f'<tr><td style="{_CELL}">{escape(name)}</td><td style="{_CELL}">{escape(value)}</td></tr>'
        for name, value in _facts(notice.data)
    )
    url = _url(notice, link)
    shown = f'<p><a href="{escape(url)}">{escape(url)}</a></p>' if url else ""
    said = escape(notice.summary)
    return f'<div style="{_STYLE}"><p><strong>{said}</strong></p><table>{rows}</table>{shown}</div>\n'


def _facts(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    names = ("created_at", "started_at", "completed_at", "attempt")
    yield from ((name.removesuffix("_at"), str(data[name])) for name in names if data.get(name) is not None)
    if error := data.get("error"):
        yield "error", f"{error['code']}: {error['message']}"
    if counts := data.get("counts"):
        yield "jobs", _counted(counts)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "none"


def _url(notice: Notice, link: str | None) -> str:
    url = notice.data.get("url")
    return "" if link is None or not isinstance(url, str) else link.rstrip("/") + url
