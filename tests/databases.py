"""Databases for tests: the testing kit's, under the names that the tests know."""

from holdfast.testing.databases import conninfo, copied_database, migrate, named

__all__ = ["conninfo", "copied_database", "migrate", "named"]
