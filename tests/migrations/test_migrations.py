"""The migrations lead to what the models say, from everywhere, for everybody at once, and in limited time."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

import holdfast.documents.models
import holdfast.notify.models  # noqa: F401 - both register their tables
from databases import migrate
from holdfast.jobs.models import SCHEMA, Base
from holdfast.migrations import downgrade, run, upgrade

VERSION_TABLE = "schema_version"

# Everything that the catalog knows of the schema, in PostgreSQL's own words.
CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
               a.attidentity, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND """,
    "constraints": """
        SELECT c.relname, k.conname, pg_get_constraintdef(k.oid)
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE """,
    "indexes": """
        SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_class c WHERE c.relkind = 'i' AND """,
    "storage": "SELECT c.relname, c.relkind, c.reloptions FROM pg_class c WHERE c.relkind <> 't' AND ",
}
OURS = f"c.relnamespace = '{SCHEMA}'::regnamespace AND c.relname NOT LIKE '{VERSION_TABLE}%' ORDER BY 1, 2"


@pytest.fixture
def make_engine():
    engines = []

    def make(url):
        engines.append(engine := create_engine(url))
        return engine

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def migrated(make_engine, database_url):
    return make_engine(database_url)


@pytest.fixture
def empty(make_engine, empty_database_url):
    return make_engine(empty_database_url)


def catalog(engine):
    with engine.connect() as connection:
        return {
            kind: [tuple(row) for row in connection.execute(text(query + OURS))]
            for kind, query in CATALOG.items()
        }


def test_alembic_finds_no_difference_between_models_and_migrations(make_engine, database_url):
    # The embedded role has the schema's name, and so has the schema in its path; Alembic calls such tables
    # nameless, and would not find them.
    engine = make_engine(f"{database_url}&options=-csearch_path%3Dpublic")
    with engine.connect() as connection:
        options = {
            "version_table": VERSION_TABLE,
            "version_table_schema": SCHEMA,
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
            "compare_type": True,
            "compare_server_default": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


@pytest.mark.parametrize("kind", CATALOG)
def test_models_and_migrations_make_the_same_schema(migrated, empty, kind):
    with empty.begin() as connection:
        connection.execute(text("CREATE EXTENSION vector"))
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        Base.metadata.create_all(connection)

    from_models, from_migrations = catalog(empty)[kind], catalog(migrated)[kind]
    assert from_migrations
    # Columns stand in the order of their names here: a later migration can only add them at the end.
    assert sorted(map(str, from_models)) == sorted(map(str, from_migrations))


def test_vector_types_are_where_every_role_finds_them(migrated):
    query = text("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'")
    with migrated.connect() as connection:
        assert connection.execute(query).scalar_one() == "public"


def test_upgrade_of_an_upgraded_database_changes_nothing(migrated):
    before = catalog(migrated)
    upgrade(migrated)
    assert catalog(migrated) == before


def test_schema_comes_back_after_it_was_taken_down(migrated):
    before = catalog(migrated)

    downgrade(migrated, "base")
    assert not any(catalog(migrated).values())

    upgrade(migrated)
    assert catalog(migrated) == before


def test_ten_processes_may_migrate_at_once(empty_database_url, empty, migrated):
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(migrate, [empty_database_url] * 10))

    assert catalog(empty) == catalog(migrated)


def test_upgrade_gives_up_when_a_table_stays_locked(migrated, monkeypatch):
    monkeypatch.setattr(run, "LOCK_TIMEOUT", "100ms")
    with migrated.connect() as user:
        user.execute(text(f"SELECT FROM {SCHEMA}.jobs"))
        began = time.monotonic()
        with pytest.raises(OperationalError, match="lock timeout"):
            downgrade(migrated, "base")

    assert time.monotonic() - began < 5
    upgrade(migrated)
    assert catalog(migrated)["columns"]


def test_failed_migration_leaves_nothing_behind_and_lets_the_next_one_in(migrated, monkeypatch):
    before = catalog(migrated)
    with monkeypatch.context() as patch, migrated.connect() as user:
        patch.setattr(run, "LOCK_TIMEOUT", "100ms")
        user.execute(text(f"SELECT FROM {SCHEMA}.api_keys"))  # the last one to be dropped
        with pytest.raises(OperationalError):
            downgrade(migrated, "base")

    assert catalog(migrated) == before
    downgrade(migrated, "base")
    assert not any(catalog(migrated).values())


def test_migration_leaves_the_lock_timeout_of_its_connection_alone(migrated):
    upgrade(migrated)
    with migrated.connect() as connection:
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "0"
