"""The API as a server runs it, from the environment that a test gives to the process."""

from pathlib import Path

from holdfast import Holdfast, Settings
from holdfast.ai import HashingEmbedder
from holdfast.api import create_app
from holdfast.documents.backend import Documents
from holdfast.documents.storage import UploadStore


def create():
    settings = Settings(_env_file=None)
    holdfast = Holdfast(settings)
    folder = Path(settings.home) / "uploads"
    storage = UploadStore(folder.absolute().as_uri())
    return create_app(holdfast, Documents(holdfast, storage=storage, embedder=HashingEmbedder))
