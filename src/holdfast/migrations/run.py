"""Running the migrations: idempotent, and safe when several processes start at once."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from holdfast.jobs.models import SCHEMA

# Any number will do, as long as every Holdfast uses the same.
_LOCK = 0x_401D_FA57
LOCK_TIMEOUT = "10s"


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to a revision; does nothing if it is there.

    One process migrates at a time, the others wait for it. A statement that cannot get its table lock within
    ten seconds fails, and with it the whole migration, rather than queueing up the application behind it.
    """
    _run(engine, lambda config: command.upgrade(config, revision))


def downgrade(engine: Engine, revision: str) -> None:
    """Take the database back to a revision; `base` removes everything."""
    _run(engine, lambda config: command.downgrade(config, revision))


def _run(engine: Engine, work: Callable[[Config], None]) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        try:
            with connection.begin():
                connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
                work(_config(connection))
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            connection.commit()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
