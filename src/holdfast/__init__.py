"""Durable background jobs for AI APIs, on FastAPI, Celery and PostgreSQL."""
