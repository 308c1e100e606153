"""Document ingestion and search: the AI backend, written with the engine's public face."""
