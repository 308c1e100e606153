"""PostgreSQL and Valkey out of PyPI wheels, started by Holdfast itself when nothing else is configured."""

from holdfast.engines.embedded import EmbeddedEngines, EngineUrls

__all__ = ["EmbeddedEngines", "EngineUrls"]
