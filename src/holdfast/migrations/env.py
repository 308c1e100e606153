"""Alembic's entry; the connection and its transaction come from `holdfast.migrations.run`."""

from alembic import context

import holdfast.documents.models  # noqa: F401 - registers its tables
from holdfast.jobs.models import SCHEMA, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table="schema_version",
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
    compare_type=True,
    compare_server_default=True,
)
context.run_migrations()
