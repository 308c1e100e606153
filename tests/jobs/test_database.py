"""Single statements on the driver's own connection, which sessions use as well."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, OperationalError

from holdfast.jobs.database import Database
from holdfast.jobs.patience import is_away


@pytest.fixture
def database(holdfast):
    with holdfast.database.transaction() as session:
        session.execute(text("CREATE TABLE public.written (number int)"))
    return holdfast.database


def numbers(database):
    with database.session() as session:
        return list(session.execute(text("SELECT number FROM public.written ORDER BY 1")).scalars())


def test_statement_is_its_own_transaction(database):
    with database.statement() as connection:
        connection.execute("INSERT INTO public.written VALUES (1)")
        assert numbers(database) == [1]


def test_session_after_a_statement_has_a_transaction_again(database):
    with database.statement() as connection:
        connection.execute("INSERT INTO public.written VALUES (1)")
        pid = connection.info.backend_pid
    with database.session() as session:
        assert session.connection().scalar(text("SELECT pg_backend_pid()")) == pid
        session.execute(text("INSERT INTO public.written VALUES (2)"))
        session.rollback()

    assert numbers(database) == [1]


def test_refused_statement_raises_what_a_session_raises(database):
    with pytest.raises(DataError, match="invalid input syntax"), database.statement() as connection:
        connection.execute("SELECT 'one'::int")

    with database.statement() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_lost_connection_is_not_used_again(database):
    with pytest.raises(OperationalError) as raised, database.statement() as connection:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    assert is_away(raised.value)
    with database.statement() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_database_that_cannot_be_reached_is_away():
    nowhere = Database(lambda: "postgresql://127.0.0.1:1/nothing")

    with pytest.raises(OperationalError) as raised, nowhere.statement():
        pass

    assert is_away(raised.value)
