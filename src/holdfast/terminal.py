"""Text of others on a terminal: names, messages and errors may come from anybody."""


def without_controls(text: str) -> str:
    """The text without what a terminal would obey."""
    return "".join(sign for sign in text if sign in "\n\t" or sign.isprintable())


def as_text(text: str) -> str:
    """The text for rich to show as it is: obeyed is neither its markup nor what a terminal would obey."""
    from rich.markup import escape

    return escape(without_controls(text))
