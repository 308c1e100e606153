"""Alembic's entry; the connection and its transaction come from `holdfast.migrations.run`."""

from alembic import context

import holdfast.documents.models
import holdfast.notify.models  # noqa: F401 - both register their tables
from holdfast.jobs.models import SCHEMA, Base


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    if kind == "schema":
        return name == SCHEMA
    # Made at run time for large collections, see `holdfast.documents.vector_index`.
    return not (kind == "index" and (name or "").startswith("chunks_vectors_"))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table="schema_version",
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=_is_ours,
    compare_type=True,
    compare_server_default=True,
)
context.run_migrations()
