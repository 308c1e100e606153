"""Time that passes when a test says so."""

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

_TIMES = text(
    "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables "
    "USING (table_schema, table_name) WHERE table_schema = 'holdfast' AND table_type = 'BASE TABLE' "
    "AND data_type = 'timestamp with time zone' ORDER BY 1, 2"
)


class Clock:
    """Moves the time of one database, seen from its jobs.

    The engine asks PostgreSQL for the time, which no test can set. So everything that is stored is made
    older instead: a job that was to run in an hour is due after `advance(timedelta(hours=1))`, a lease has
    run out, a deadline has passed.

    Args:
        session: of the database; `advance` commits it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def advance(self, span: timedelta) -> None:
        """Let so much time pass for everything that Holdfast has stored."""
        columns: dict[str, list[str]] = {}
        for table, column in self._session.execute(_TIMES):
            columns.setdefault(table, []).append(column)
        for table, names in columns.items():
            moved = ", ".join(f'"{name}" = "{name}" - :span' for name in names)
            self._session.execute(text(f'UPDATE holdfast."{table}" SET {moved}'), {"span": span})  # noqa: S608 - names of our own columns
        self._session.commit()
