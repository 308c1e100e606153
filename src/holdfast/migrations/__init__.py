"""The schema's history, shipped inside the package and run by `holdfast migrate`."""

from holdfast.migrations.run import downgrade, upgrade

__all__ = ["downgrade", "upgrade"]
