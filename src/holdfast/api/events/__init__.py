"""Watching jobs over HTTP while they happen."""
