"""The key that `holdfast up` makes first, kept in the data folder for the commands run beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.settings import Settings

if TYPE_CHECKING:
    from holdfast.app import Holdfast


def key_file(settings: Settings) -> Path:
    """Where the key is kept; readable by its owner alone."""
    return settings.home / "api-key"


def make_local_key(holdfast: "Holdfast") -> str | None:
    """Make a first key and keep it; `None`: there is a key already."""
    from holdfast.jobs import keys

    with holdfast.database.transaction() as session:
        if keys.list_keys(session):
            return None
        _, token = keys.create_key(session, "local")
    path = key_file(holdfast.settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(token + "\n")
    return token
