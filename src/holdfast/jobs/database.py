"""Connections to PostgreSQL: one pool per process and per kind of code, made when first used."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import psycopg
from psycopg import AsyncConnection, Connection
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from holdfast.errors import ConfigurationError
from holdfast.jobs.process import PerProcess

# How long to wait for a connection, from the pool or to the server.
CONNECT_SECONDS = 10


class Database:
    """Sessions on one PostgreSQL, for sync and async code alike.

    A process that was forked gets pools of its own: connections must not be shared with the parent. The
    async pool belongs to one event loop; a process has one (`holdfast.jobs.loop`, or the API server's).

    Args:
        url: gives the database's URL when it is first needed, so that making a `Database` starts nothing.
        pool_size: connections each pool opens at most, and keeps.
        silence_seconds: how long a server may leave what was sent without an answer of its network before the
            connection counts as lost.
        server_settings: of PostgreSQL's, for every connection.
    """

    def __init__(
        self,
        url: Callable[[], str],
        *,
        pool_size: int = 10,
        silence_seconds: int = 30,
        server_settings: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._server_settings = {"timezone": "UTC", **(server_settings or {})}
        self._pool_size = pool_size
        self._silence_seconds = silence_seconds
        self._sync = PerProcess(lambda: create_engine(self.url, **self._options()))
        self._async = PerProcess(lambda: create_async_engine(self.url, **self._options()))
        # Made once: one made for each statement took longer than the statement.
        self._async_statements = PerProcess(
            lambda: self.async_engine.execution_options(isolation_level="AUTOCOMMIT")
        )

    @property
    def engine(self) -> Engine:
        """The sync engine of this process."""
        return self._sync.get()

    @property
    def async_engine(self) -> AsyncEngine:
        """The async engine of this process; used on one event loop only."""
        return self._async.get()

    @property
    def async_statements(self) -> AsyncEngine:
        """The async engine, with connections on which each statement is its own transaction."""
        return self._async_statements.get()

    @property
    def url(self) -> str:
        """The database's URL, with the psycopg driver named."""
        return psycopg_url(self._url())

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A sync session, committed by nobody but the caller."""
        # Not by a `sessionmaker`, which makes a class each time it is made.
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A sync session that commits at the end of the block, or rolls back if it raises."""
        with self.session() as session, session.begin():
            yield session

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """A connection as the driver has it, on which each statement is its own transaction.

        One round trip to the server where `transaction` takes three; and the claim and completion of a job
        took 1.2 ms of CPU with SQLAlchemy's session and connection around it, and take 0.5 without.

        Raises:
            DBAPIError: what the driver raised, as everywhere.
        """
        with driver_errors(), self._autocommitting() as connection:
            yield connection

    async def connect(self) -> AsyncConnection:
        """A connection of the driver's outside the pools, as `statement` gives one; the caller closes it.

        Raises:
            DBAPIError: what the driver raised.
        """
        url = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with driver_errors():
            return await AsyncConnection.connect(url, autocommit=True, **self._options()["connect_args"])

    @asynccontextmanager
    async def async_session(self) -> AsyncIterator[AsyncSession]:
        """An async session, committed by nobody but the caller."""
        async with AsyncSession(self.async_engine, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Close the sync pool."""
        engine = self._sync.take()
        if engine is not None:
            engine.dispose()

    async def aclose(self) -> None:
        """Close both pools; on the event loop the async one was used on."""
        self._async_statements.take()
        engine = self._async.take()
        if engine is not None:
            await engine.dispose()
        self.close()

    @contextmanager
    def _autocommitting(self) -> Iterator[Connection]:
        pooled = self.engine.raw_connection()
        connection = cast("Connection", pooled.driver_connection)
        try:
            connection.autocommit = True
            yield connection
            connection.autocommit = False
        except BaseException:
            # Whatever state it is in, nobody else is to have it.
            pooled.invalidate()
            raise
        finally:
            pooled.close()

    def _options(self) -> dict[str, Any]:
        return {
            "pool_size": self._pool_size,
            # Connections over the pool's size would be closed whenever they are returned: under load that is
            # a new PostgreSQL process for every few requests.
            "max_overflow": 0,
            "pool_timeout": CONNECT_SECONDS,
            "pool_use_lifo": True,
            # Arguments and results are the users' data: they do not belong into logs.
            "hide_parameters": True,
            "connect_args": {
                "application_name": "holdfast",
                "connect_timeout": min(CONNECT_SECONDS, self._silence_seconds),
                "keepalives_idle": self._silence_seconds // 3,
                "keepalives_interval": max(1, self._silence_seconds // 6),
                "keepalives_count": 4,
                "tcp_user_timeout": self._silence_seconds * 1_000,
                "options": " ".join(f"-c {name}={value}" for name, value in self._server_settings.items()),
            },
        }


@contextmanager
def driver_errors() -> Iterator[None]:
    """Raise what the driver raises as SQLAlchemy does: a `DBAPIError`."""
    try:
        yield
    except psycopg.Error as error:
        raise DBAPIError.instance(None, None, error, psycopg.Error, hide_parameters=True) from error


def psycopg_url(url: str) -> str:
    """The URL with psycopg 3 named as its driver; platforms hand out `postgres://` and `postgresql://`.

    Raises:
        ConfigurationError: it is not a PostgreSQL URL.
    """
    scheme, colon, rest = url.partition("://")
    if not colon or scheme.partition("+")[0] not in ("postgres", "postgresql"):
        # Without a scheme all of it, with the password, would stand before the colon.
        found = f"{scheme}://" if colon else "something else"
        raise ConfigurationError(f"DATABASE_URL must begin with postgresql://, not {found}.")
    return make_url(f"postgresql+psycopg://{rest}").render_as_string(hide_password=False)
