"""What the application holds for its endpoints, and how they reach it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from starlette.requests import HTTPConnection

from holdfast.api.events.hub import Hub
from holdfast.api.gathering import Gathering
from holdfast.api.known_keys import KnownKeys
from holdfast.app import Holdfast
from holdfast.documents.backend import Documents
from holdfast.jobs.database import Database
from holdfast.notify import Notifications


@dataclass(frozen=True)
class Services:
    """The engine, who watches its jobs and who writes them, documents and notifications if there are any,
    and the keys seen lately.
    """  # noqa: D205 - a list

    holdfast: Holdfast
    hub: Hub
    gathering: Gathering
    documents: Documents | None = None
    notifications: Notifications | None = None
    known_keys: KnownKeys = field(default_factory=KnownKeys)


def services_of(connection: HTTPConnection) -> Services:
    """The services of the application that serves this request.

    Raises:
        RuntimeError: `attach` was not called for the application.
    """
    services: Services | None = getattr(connection.app.state, "holdfast", None)
    if services is None:
        raise RuntimeError("Call holdfast.api.attach(app, holdfast) where the application is made.")
    return services


def documents_of(connection: HTTPConnection) -> Documents:
    """The documents of the application that serves this request.

    Raises:
        RuntimeError: `attach` was given none.
    """
    documents = services_of(connection).documents
    if documents is None:
        raise RuntimeError("Give holdfast.api.attach the documents that these routes are about.")
    return documents


def notifications_of(connection: HTTPConnection) -> Notifications:
    """The notifications of the application that serves this request.

    Raises:
        RuntimeError: `attach` was given none.
    """
    notifications = services_of(connection).notifications
    if notifications is None:
        raise RuntimeError("Give holdfast.api.attach the notifications that these routes are about.")
    return notifications


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection for single statements, each its own transaction, without what a session costs."""
    async with database.async_statements.connect() as connection:
        yield connection


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[AsyncSession]:
    """A session for single reads, each of them its own transaction: that saves BEGIN and ROLLBACK."""
    async with AsyncSession(database.async_statements, expire_on_commit=False) as session:
        yield session
