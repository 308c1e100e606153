"""Spans of time as people read and write them."""

import re
from datetime import timedelta

import typer


def span(seconds: float) -> str:
    """The largest unit that fits, such as `3h`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def parse_span(text: str) -> timedelta:
    """The span that is written like `90s`, `30m`, `1h` or `2d`.

    Raises:
        typer.BadParameter: it is written otherwise.
    """
    written = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if written is None:
        raise typer.BadParameter(f"{text!r} is not a span of time such as 90s, 30m, 1h or 2d.")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[written[2]]
    return timedelta(**{unit: int(written[1])})
