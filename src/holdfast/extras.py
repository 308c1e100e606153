"""What is installed along, and what is said where it is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from holdfast.errors import MissingExtra

OF_SERVER: Final = frozenset(
    {
        "aiosmtplib",
        "alembic",
        "billiard",
        "celery",
        "cronsim",
        "fastapi",
        "greenlet",
        "httptools",
        "kombu",
        "obstore",
        "orjson",
        "pgvector",
        "psutil",
        "psycopg",
        "pypdfium2",
        "python_multipart",
        "redis",
        "selectolax",
        "semantic_text_splitter",
        "sqlalchemy",
        "starlette",
        "uvicorn",
        "uvloop",
    }
)
"""Modules that only the extra `server` brings; whatever else is missing is somebody else's mistake."""


@contextmanager
def server_parts() -> Iterator[None]:
    """Import what the server needs in the block.

    Raises:
        MissingExtra: Holdfast was installed without it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OF_SERVER:
            raise MissingExtra("server", error.name or "") from error
        raise
