"""Every setting, read from the environment and from `.env` in the working folder.

Only the composition roots read settings; all other code is given what it needs.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

LogLevel: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Settings(BaseSettings):
    """What can be configured. Each field names its environment variable; defaults need nothing installed."""

    model_config = SettingsConfigDict(
        env_file=".env", env_prefix="HOLDFAST_", extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    home: Path = Field(Path(".holdfast"), description="Data folder: embedded engines and local uploads.")
    database_url: str | None = Field(
        None,
        validation_alias="DATABASE_URL",
        repr=False,  # the password is part of it
        description="PostgreSQL 15 or newer; embedded if unset.",
    )
    redis_url: str | None = Field(
        None,
        validation_alias="REDIS_URL",
        repr=False,
        description="Redis 6.2 or Valkey; embedded if unset.",
    )
    broker_url: SecretStr | None = Field(
        None, description="Another broker for Celery, such as RabbitMQ; the Redis above if unset."
    )
    key_prefix: str = Field("holdfast:", description="Prefix of every key written to Redis.")
    app: str = Field(
        "holdfast.server:holdfast", description="The Holdfast that workers run and the API serves."
    )

    database_pool_size: int = Field(
        10, ge=1, description="Connections a process opens at most, of each of its two kinds of code."
    )
    lease_seconds: float = Field(15, gt=0, description="How long a job is safe after its last heartbeat.")

    worker_threads: int = Field(
        32, ge=1, description="Jobs of `def` tasks that a worker runs at a time, in threads."
    )
    worker_processes: int | None = Field(
        None,
        ge=1,
        description="Processes of a worker for tasks that compute, such as ingestion; one per processor if "
        "unset, 8 at most.",
    )

    retention_days: int = Field(
        30, ge=0, description="How long finished jobs are kept, and uploads nobody needs; 0 for ever."
    )
    shutdown_seconds: float = Field(
        25, gt=0, description="How long a worker takes to end at most, from the signal to its exit."
    )

    storage_url: str | None = Field(
        None, description="Where uploads go: s3://bucket/prefix, gs://, az://, file:///; local if unset."
    )
    max_upload_mb: float = Field(100, gt=0, description="Largest upload, in megabytes of 10^6 bytes.")

    openai_api_key: SecretStr | None = Field(
        None,
        validation_alias="OPENAI_API_KEY",
        description="With neither a key nor a base URL, embeddings are lexical and made offline.",
    )
    openai_base_url: str | None = Field(
        None,
        validation_alias="OPENAI_BASE_URL",
        description="Another provider that speaks OpenAI's protocol, with or without a key.",
    )
    embedding_model: str = Field("text-embedding-3-small", description="Used when there is a provider.")
    embedding_dimensions: int | None = Field(
        None, ge=1, le=4000, description="Asked of models that can shorten their vectors."
    )

    webhook_allow: str = Field(
        "",
        description="Hosts and networks that webhooks may reach though they are not public, and without TLS; "
        "for development.",
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="Sends mail: smtp://user:password@host:587 (STARTTLS) or smtps://; no mail if unset.",
    )
    mail_from: str | None = Field(None, description="The address that mail is from.")
    public_url: str | None = Field(None, description="The API as people reach it, for links in mail.")

    read_memory_mb: int = Field(1024, ge=64, description="Memory limit of the process that reads a file.")
    read_seconds: float = Field(300, gt=0, description="Time limit of the process that reads a file.")

    max_streams: int = Field(
        1_000, ge=1, description="Event streams and waits that one API key may have open in a process."
    )

    url: str = Field("http://127.0.0.1:8000", description="The API that the commands talk to.")
    api_key: SecretStr | None = Field(
        None, description="The key they use; the one `holdfast up` made in the data folder if unset."
    )

    log_level: Annotated[LogLevel, BeforeValidator(str.upper)] = Field(
        "INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL."
    )

    @property
    def lease(self) -> timedelta:
        """`lease_seconds` as a duration."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def shutdown(self) -> timedelta:
        """`shutdown_seconds` as a duration."""
        return timedelta(seconds=self.shutdown_seconds)

    @property
    def has_provider(self) -> bool:
        """Whether there is an AI provider to ask."""
        return self.openai_api_key is not None or self.openai_base_url is not None

    @property
    def max_upload_bytes(self) -> int:
        """`max_upload_mb` in bytes."""
        return int(self.max_upload_mb * 1_000_000)
