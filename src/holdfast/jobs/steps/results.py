"""A step's result on its way into PostgreSQL and back, as its function's return annotation says."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from holdfast.errors import PermanentError
from holdfast.jobs.steps.fingerprints import name_of
from holdfast.jobs.storable import storable_json

_known: "WeakKeyDictionary[Callable[..., Any], ResultType]" = WeakKeyDictionary()


class ResultType:
    """What a function returns, as Pydantic reads its annotation; anything that is JSON if it has none.

    Args:
        name: of the function, for messages.
        annotation: of its return value.
    """

    def __init__(self, name: str, annotation: Any) -> None:  # noqa: ANN401 - whatever stands there
        self._name = name
        try:
            self._adapter = _adapter(annotation)
        except PydanticUserError as error:
            raise _invalid(
                f"{name}: the return annotation {annotation!r} cannot be stored: {error}"
            ) from error

    def dump(self, value: object) -> str:
        """The value as PostgreSQL will give it back.

        Raises:
            PermanentError: it does not fit the annotation, or cannot be stored (code `invalid_result`).
        """
        try:
            valid = self._adapter.validate_python(value)
            return stored_form(storable_json(self._adapter.dump_python(valid, mode="json", round_trip=True)))
        except ValidationError as error:
            raise _invalid(
                f"{self._name} returned what its annotation does not allow: {_told(error)}"
            ) from error
        except (PydanticSerializationError, ValueError) as error:
            raise _invalid(f"{self._name} returned what cannot be stored: {error}") from error

    def load(self, text: str) -> Any:  # noqa: ANN401 - the type is the function's
        """The value of JSON that was stored.

        Raises:
            ValidationError: it does not fit, as the annotation is another one now.
        """
        return self._adapter.validate_json(text, by_alias=True, by_name=True)


def result_type(function: Callable[..., Any]) -> ResultType:
    """How to store what a function returns; made once for each function.

    Raises:
        PermanentError: the annotation cannot be read, or stored (code `invalid_result`).
    """
    source = _source(function)
    try:
        known = _known.get(source)
    except TypeError:  # no weak reference to it
        return _read(source)
    if known is None:
        known = _known[source] = _read(source)
    return known


def stored_form(text: str) -> str:
    """JSON as `jsonb` gives it back, so that a first run and a later one see the same.

    `jsonb` orders keys by length and then by bytes, writes numbers without exponents, so that 1e22 becomes a
    whole number, and knows no negative zero.
    """
    if "{" not in text and "e+" not in text and "-0.0" not in text:
        return text
    value = json.loads(text, object_pairs_hook=_as_jsonb_orders, parse_float=_as_jsonb_counts)
    return storable_json(value)


def _as_jsonb_orders(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(sorted(pairs, key=lambda pair: (len(encoded := pair[0].encode()), encoded)))


def _as_jsonb_counts(literal: str) -> float:
    if "e+" in literal:
        return int(Decimal(literal))
    return float(literal) or 0.0


def _adapter(annotation: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - whatever stands there
    try:
        # Where nothing is annotated Pydantic would turn NaN into null without a word.
        return TypeAdapter(annotation, config=ConfigDict(ser_json_inf_nan="constants"))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)


def _source(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose annotations count: behind partials, and behind a bound method."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, type):
        function = function.__call__  # type: ignore[operator]
    return getattr(function, "__func__", function)


def _read(function: Callable[..., Any]) -> ResultType:
    name = name_of(function)
    if isinstance(function, type):
        return ResultType(name, function)
    annotation = getattr(function, "__annotations__", {}).get("return", Any)
    if isinstance(annotation, str):
        annotation = _evaluated(name, annotation, _globals_of(function))
    return ResultType(name, annotation)


def _globals_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    unwrapped = inspect.unwrap(function)
    return getattr(unwrapped, "__globals__", None) or vars(sys.modules[unwrapped.__module__])


def _evaluated(name: str, annotation: str, known: Mapping[str, Any]) -> object:
    # Only this one: the parameters of a library's function may name what it imports for type checkers alone.
    try:
        return eval(annotation, dict(known))  # noqa: S307 - as `typing.get_type_hints` does
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise _invalid(f"{name}: the return annotation {annotation!r} cannot be read: {error}") from error


def _told(error: ValidationError) -> str:
    """What does not fit, without the value, which is the users' data."""
    misfits = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, misfit['loc'])) or 'value'}: {misfit['msg']}" for misfit in misfits)


def _invalid(message: str) -> PermanentError:
    return PermanentError(message, code="invalid_result")
