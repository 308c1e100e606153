"""Spans of time as people read them."""


def span(seconds: float) -> str:
    """The largest unit that fits, such as `3h`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"
