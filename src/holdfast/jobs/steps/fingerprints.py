"""What tells a step from the one that was saved in its place: its function and its arguments, as hashes."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

_HALF = 16


def fingerprint(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Sixteen bytes of the function's module and name, and sixteen of the arguments.

    Arguments count by their JSON. What has none, such as a client or a connection, counts by its type's name;
    so does an iterator, which must not be used up by looking at it.
    """
    while isinstance(function, functools.partial):
        args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
        function = function.func
    return fingerprint_of(name_of(function), args, kwargs)


def fingerprint_of(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """As `fingerprint`, of a function that is known by this name."""
    given = [_json(value) for value in args]
    named = [f"{key}={_json(value)}" for key, value in sorted(kwargs.items())]
    return _hash(name) + _hash("\n".join([*given, *named]))


def differences(saved: bytes, current: bytes) -> list[str]:
    """Which parts of two fingerprints differ: `function`, `arguments`, both or neither."""
    halves = {"function": slice(_HALF), "arguments": slice(_HALF, None)}
    return [part for part, half in halves.items() if saved[half] != current[half]]


def function_part(whole: bytes) -> bytes:
    """The part of a fingerprint that stands for the function."""
    return whole[:_HALF]


def name_of(function: Callable[..., Any]) -> str:
    """Module and qualified name of a function, or of the type of another callable."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_HALF).digest()


def _json(value: object) -> str:
    try:
        return json.dumps(value, default=_plain, sort_keys=True)
    except (TypeError, ValueError, RecursionError):  # keys of several types, or a circle
        return _type_name(value)


def _plain(value: object) -> object:
    match value:
        case set() | frozenset():
            # In no order of their own, and that of strings is another one in each process.
            return sorted(map(_json, value))
        case bytes() | bytearray():
            return blake2b(value).hexdigest()
        case BaseModel():
            return dict(value)
        case Iterator():
            return _type_name(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in fields(value)}
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError):
        return _type_name(value)


def _type_name(value: object) -> str:
    return name_of(type(value))
