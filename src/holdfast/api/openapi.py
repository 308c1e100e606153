"""How the API documents itself."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from holdfast.api.problems import MEDIA_TYPE
from holdfast.schemas import Problem

TAGS: Final = [
    {"name": "jobs", "description": "Work that was asked for: its status, progress, result and history."},
    {"name": "batches", "description": "Many jobs asked for together, counted and cancelled together."},
    {"name": "queues", "description": "Queues and workers, for API keys of the scope `admin`."},
    {"name": "notifications", "description": "Being told of the end of jobs, and the log of that."},
    {"name": "documents", "description": "Uploads, ingested by jobs and kept in collections."},
    {"name": "search", "description": "Finding passages of documents."},
    {"name": "health", "description": "Whether the process is up, and ready to work. No key needed."},
]
_DESCRIPTIONS: Final = {
    400: "The request body cannot be read",
    401: "No API key, or not a valid one",
    403: "It is not for this API key",
    404: "There is none, or it belongs to another API key",
    409: "It does not stand so that this could be done",
    413: "Too large",
    415: "Of a type that is not taken",
    422: "The request is not valid",
    429: "Too much at once; see `Retry-After`",
    502: "The AI provider refused",
    503: "Something needed cannot be reached just now; see `Retry-After`",
}
_API_KEY: Final[dict[str, list[str]]] = {"ApiKey": []}
_PROBLEM_REF: Final = "#/components/schemas/Problem"


def tags(*, documents: bool, notifications: bool) -> list[dict[str, str]]:
    """The tags of an application that has these parts or has them not."""
    absent = {"notifications": not notifications, "documents": not documents, "search": not documents}
    return [tag for tag in TAGS if not absent.get(tag["name"])]


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers with these statuses when something is wrong."""
    return {status: {"model": Problem, "description": _DESCRIPTIONS[status]} for status in statuses}


def operation_id(route: APIRoute) -> str:
    """The name of the endpoint's function."""
    return route.name


def complete_openapi(app: FastAPI) -> None:
    """Put into the application's OpenAPI what FastAPI does not know.

    Problems have their own media type, and a key may be sent in either of two ways.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        for response in _responses(schema):
            content = response.get("content", {})
            if content.get("application/json", {}).get("schema") == {"$ref": _PROBLEM_REF}:
                content[MEDIA_TYPE] = content.pop("application/json")
        for operation in _operations(schema):
            if operation.get("security") == [_API_KEY]:
                operation["security"] = [_API_KEY, {"Bearer": []}]
        schemes = schema.get("components", {}).get("securitySchemes", {})
        if "ApiKey" in schemes:
            schemes["Bearer"] = {"type": "http", "scheme": "bearer"}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _responses(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operation in _operations(schema):
        yield from operation.get("responses", {}).values()


def _operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema.get("paths", {}).values():
        yield from (operation for operation in path.values() if isinstance(operation, dict))
