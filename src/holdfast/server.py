"""Holdfast's own backend, composed: what `holdfast api` serves and `celery -A holdfast.celery` runs."""

from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.ai import Embedder, HashingEmbedder, OpenAIEmbedder
from holdfast.app import Holdfast
from holdfast.documents.backend import Documents
from holdfast.documents.reading import ReadLimits
from holdfast.documents.storage import UploadStore
from holdfast.errors import ConfigurationError
from holdfast.notify import Allowed, MailChannel, MailServer, Notifications
from holdfast.notify.posting import Poster
from holdfast.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

OPENAI_URL = "https://api.openai.com/v1"
# What these models give when they are not asked for less.
_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


def make_documents(holdfast: Holdfast) -> Documents:
    """The document backend that the settings ask for."""
    settings = holdfast.settings
    folder = (settings.home / "uploads").absolute().as_uri()
    return Documents(
        holdfast,
        storage=UploadStore(settings.storage_url or folder),
        embedder=lambda: make_embedder(settings),
        orphans_after=timedelta(days=1) if settings.retention_days else None,
        limits=ReadLimits(
            memory_bytes=settings.read_memory_mb << 20,
            cpu_seconds=int(settings.read_seconds),
            wall_seconds=settings.read_seconds,
        ),
    )


def make_embedder(settings: Settings) -> Embedder:
    """An OpenAI-compatible provider if there is a key or an address for one, else the offline default.

    Raises:
        ConfigurationError: the dimensions of the model's vectors are not known.
    """
    if not settings.has_provider:
        return HashingEmbedder()
    dimensions = settings.embedding_dimensions or _DIMENSIONS.get(settings.embedding_model)
    if dimensions is None:
        raise ConfigurationError(
            f"HOLDFAST_EMBEDDING_DIMENSIONS must say how many {settings.embedding_model!r} has."
        )
    key = settings.openai_api_key
    return OpenAIEmbedder(
        base_url=settings.openai_base_url or OPENAI_URL,
        api_key=None if key is None else key.get_secret_value(),
        model=settings.embedding_model,
        dimensions=dimensions,
        send_dimensions=settings.embedding_dimensions is not None,
    )


def make_notifications(holdfast: Holdfast) -> Notifications:
    """Webhooks, and mail if the settings say how it is sent.

    Raises:
        ConfigurationError: of the settings for mail one is missing, or cannot be what it is.
    """
    settings = holdfast.settings
    notifications = Notifications(
        holdfast,
        poster=Poster(Allowed.parse(settings.webhook_allow)),
        keep=timedelta(days=settings.retention_days) if settings.retention_days else None,
    )
    if settings.smtp_url is not None:
        if settings.mail_from is None:
            raise ConfigurationError("HOLDFAST_SMTP_URL needs HOLDFAST_MAIL_FROM: the address mail is from.")
        server = MailServer.parse(settings.smtp_url.get_secret_value())
        notifications.add(MailChannel(server, settings.mail_from, link=settings.public_url))
    return notifications


holdfast = Holdfast()
documents = make_documents(holdfast)
notifications = make_notifications(holdfast)


def create() -> "FastAPI":
    """The ASGI application; made only where it is served, so that workers do without FastAPI."""
    from holdfast.api import create_app
    from holdfast.dashboard import add_dashboard

    return add_dashboard(create_app(holdfast, documents, notifications))
