"""What may be written into a JSONB column."""

import json
import re

from pydantic import JsonValue

# What SQLAlchemy will do, but strictly. orjson would be faster and turn NaN into null without a word.
_encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=False)
# PostgreSQL's jsonb has no NUL; in JSON text it can only stand as an escape whose backslash is not itself
# escaped.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def check_storable(value: JsonValue) -> None:
    """Check that PostgreSQL can store this as `jsonb`; raises `ValueError` as `storable_json`."""
    storable_json(value)


def storable_json(value: JsonValue) -> str:
    """The value as JSON text that PostgreSQL can store as `jsonb`.

    Raises:
        ValueError: it holds a NUL character, half a surrogate pair, a number that JSON does not have (NaN,
            infinity), or something that is not JSON.
    """
    try:
        text = _encoder.encode(value)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not storable as JSON: {error}") from error
    if "\\u0000" in text and _NUL.search(text):
        raise ValueError("not storable as JSON: it holds a NUL character (\\u0000)")
    return text


def optional_json(value: JsonValue) -> str | None:
    """As `storable_json`; `None` stays what it is, and is stored as NULL."""
    return None if value is None else storable_json(value)


def storable_text(text: str) -> str:
    """The text with NUL characters and halves of surrogate pairs replaced, so that any column takes it."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
