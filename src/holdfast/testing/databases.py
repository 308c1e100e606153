"""Databases for tests: a migrated template, copies of it, and the other ways to spell a URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from sqlalchemy import create_engine, make_url

from holdfast.migrations import upgrade

Admin: TypeAlias = psycopg.Connection[TupleRow]

TEMPLATE = "holdfast_template"
_UNFINISHED = "unfinished_template"


def connect(url: str) -> Admin:
    """A connection in autocommit, which can make and drop databases."""
    return psycopg.connect(conninfo(url), autocommit=True)


def make_template(admin: Admin, url: str) -> str:
    """Make the migrated database that others are copied from, once; returns its name.

    Nobody can connect to it, so that it can always be copied.
    """
    admin.execute("SELECT pg_advisory_lock(1)")
    try:
        if not admin.execute("SELECT FROM pg_database WHERE datname = %s", [TEMPLATE]).rowcount:
            admin.execute(f"CREATE DATABASE {_UNFINISHED}")
            migrate(named(url, _UNFINISHED))
            admin.execute(f"ALTER DATABASE {_UNFINISHED} ALLOW_CONNECTIONS false")
            admin.execute(f"ALTER DATABASE {_UNFINISHED} RENAME TO {TEMPLATE}")
    finally:
        admin.execute("SELECT pg_advisory_unlock(1)")
    return TEMPLATE


@contextmanager
def copied_database(admin: Admin, url: str, template: str) -> Iterator[str]:
    """A copy of a database on the server of `url`; dropped at the end, whoever is still connected."""
    name = f"test_{uuid4().hex}"
    # PostgreSQL's default strategy, WAL_LOG, takes 25 ms for the migrated schema, FILE_COPY 60.
    admin.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    )
    try:
        yield named(url, name)
    finally:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def named(url: str, database: str) -> str:
    """The URL of another database on the same server."""
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def conninfo(url: str) -> str:
    """The URL as libpq reads it."""
    return url.replace("postgresql+psycopg://", "postgresql://")


def migrate(url: str) -> None:
    """Bring a database's schema up to date."""
    engine = create_engine(url)
    try:
        upgrade(engine)
    finally:
        engine.dispose()
