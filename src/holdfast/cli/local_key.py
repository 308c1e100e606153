"""The key that `holdfast up` makes first, kept in the data folder for the commands run beside it."""

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.app import Holdfast
    from holdfast.settings import Settings


def key_file(settings: "Settings") -> Path:
    """Where the key is kept; readable by its owner alone."""
    return settings.home / "api-key"


def make_local_key(holdfast: "Holdfast") -> str | None:
    """Make a key and keep it; `None`: the one that is kept is valid.

    Other keys do not count: nobody can tell them any more.
    """
    from holdfast.jobs import keys

    path = key_file(holdfast.settings)
    with holdfast.database.transaction() as session:
        if keys.find_owner(session, _kept(path)) is not None:
            return None
        _, token = keys.create_key(session, "local", scopes=[keys.ADMIN])
        # Before the commit: a file with a key that was never made does no harm, the next start replaces it.
        _keep(path, token)
    return token


def _kept(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _keep(path: Path, token: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A new file, which is its owner's alone from the beginning, whatever the old one was.
    with NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
        file.write(token + "\n")
    Path(file.name).replace(path)
