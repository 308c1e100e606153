"""What a task's function takes and gives, as its annotations say: validated, and as JSON and back."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError, create_model
from pydantic_core import PydanticSerializationError

from holdfast.errors import ConfigurationError, InvalidArgument, InvalidArguments, PermanentError
from holdfast.jobs.storable import check_storable, storable_json

_MISFITS = (ValidationError, PydanticSerializationError, ValueError)


class Signature:
    """The arguments and the result of one task's function.

    Args:
        name: the task's, for messages.
        function: whose first parameter is the job's context.
        reserved: what its other parameters must not be called.

    Raises:
        ConfigurationError: a parameter has no annotation, a reserved name, or cannot be given by name.
    """

    def __init__(self, name: str, function: Callable[..., Any], reserved: frozenset[str]) -> None:
        self._name = name
        hints = get_type_hints(function, include_extras=True)
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
        fields = _fields(name, function, hints, reserved)
        self._arguments: type[BaseModel] = create_model(f"{name} arguments", __config__=config, **fields)
        self._many = TypeAdapter(list[self._arguments])  # type: ignore[name-defined]
        self._result = TypeAdapter[Any](hints.get("return", Any))

    @property
    def required(self) -> list[str]:
        """The parameters without a default."""
        return [name for name, field in self._arguments.model_fields.items() if field.is_required()]

    def dump_arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Validate arguments and return them as JSON.

        Raises:
            InvalidArguments: they do not fit, or cannot be stored.
        """
        try:
            arguments = self._arguments.model_validate(dict(given))
            dumped = arguments.model_dump(mode="json", exclude_unset=True)
            check_storable(dumped)
        except _MISFITS as error:
            raise InvalidArguments(f"{self._name}: {_short(error)}", _misfits(error)) from error
        return dumped

    def dump_many(self, given: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Validate the arguments of many jobs at once, in half the time. Whether they can be stored is not
        looked at.

        Raises:
            ValueError: some do not fit; `dump_arguments` tells which, and why.
        """  # noqa: D205 - the guarantee belongs to the summary
        arguments = self._many.validate_python([dict(each) for each in given])
        dumped: list[dict[str, Any]] = self._many.dump_python(arguments, mode="json", exclude_unset=True)
        return dumped

    def load_arguments(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The stored arguments as Python values.

        Raises:
            InvalidArguments: the task's annotations have changed since, and they no longer fit.
        """
        try:
            arguments = self._arguments.model_validate(dict(args))
        except ValidationError as error:
            raise InvalidArguments(f"{self._name}: {_short(error)}") from error
        return {name: getattr(arguments, name) for name in type(arguments).model_fields}

    def dump_result(self, value: object) -> JsonValue:
        """Validate a returned value by the return annotation and give it as JSON.

        Raises:
            PermanentError: it does not fit, or cannot be stored (code `invalid_result`).
        """
        try:
            result = self._result.dump_python(self._result.validate_python(value), mode="json")
            check_storable(result)
        except _MISFITS as error:
            message = f"{self._name} returned what its annotation does not allow: {_short(error)}"
            raise PermanentError(message, code="invalid_result") from error
        return cast("JsonValue", result)

    def load_result(self, result: JsonValue) -> Any:  # noqa: ANN401 - the type is the function's
        """A stored result as the return annotation says.

        Raises:
            PermanentError: the annotation has changed since, and it no longer fits (code `invalid_result`).
        """
        try:
            return self._result.validate_json(storable_json(result), by_alias=True, by_name=True)
        except ValidationError as error:
            message = f"A result of {self._name} no longer fits its annotation: {_short(error)}"
            raise PermanentError(message, code="invalid_result") from error


def _fields(
    name: str, function: Callable[..., Any], hints: Mapping[str, Any], reserved: frozenset[str]
) -> dict[str, Any]:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        raise ConfigurationError(f"Task {name} must take the job's context as its first parameter.")
    fields: dict[str, Any] = {}
    for parameter in parameters[1:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigurationError(f"Task {name}: parameter {parameter.name} cannot be given by name.")
        if parameter.name in reserved:
            raise ConfigurationError(f"Task {name}: {parameter.name!r} is a parameter of enqueue itself.")
        if parameter.name not in hints:
            raise ConfigurationError(f"Task {name}: parameter {parameter.name} has no annotation.")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    return fields


def _short(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"{'.'.join(misfit.location) or 'value'}: {misfit.message}" for misfit in _misfits(error)
    )


def _misfits(error: Exception) -> list[InvalidArgument]:
    if not isinstance(error, ValidationError):
        return []
    return [
        InvalidArgument(tuple(map(str, item["loc"])), item["msg"], item["type"])
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
