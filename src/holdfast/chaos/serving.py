"""Chaos's workload with the document backend beside it, and the API that documents are uploaded to."""

from typing import TYPE_CHECKING

from holdfast.chaos.workload import holdfast
from holdfast.server import make_documents

if TYPE_CHECKING:
    from fastapi import FastAPI

documents = make_documents(holdfast)

__all__ = ["application", "documents", "holdfast"]


def application() -> "FastAPI":
    """The ASGI application: `uvicorn --factory holdfast.chaos.serving:application`."""
    from holdfast.api import create_app

    return create_app(holdfast, documents)
