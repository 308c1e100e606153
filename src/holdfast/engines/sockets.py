"""Where the engines' Unix sockets live: in the data folder, or in a short shelter when its path is too long.

A socket's path must fit in `sockaddr_un`, and both libpq and its URL give commas and colons a meaning. A
folder whose path is long or unusual therefore keeps its sockets in a private folder under the temporary
one. The link `sockets` records which, as another process may have been given another TMPDIR.
"""

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from holdfast.engines.account import Account
from holdfast.errors import EngineStartError

_LONGEST_NAME = ".s.PGSQL.5432"
_LIMIT_BYTES = 103  # macOS; Linux has 107
_PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")


def prepare_sockets(home: Path, account: Account) -> Path:
    """Return the folder for the sockets of `home`, made for `account` alone if missing.

    Raises:
        EngineStartError: another user has taken the name under the temporary folder.
    """
    if _fits(home / "run"):
        return account.make_folder(home / "run")
    shelter = _recorded_shelter(home) or _make_shelter(home)
    return account.make_folder(shelter / "run")


def recorded_sockets(home: Path) -> Path:
    """Return the folder that the sockets of a started `home` are in."""
    return (_recorded_shelter(home) or home) / "run"


def remove_shelter(home: Path) -> None:
    """Leave nothing under the temporary folder once the engines are stopped."""
    if shelter := _recorded_shelter(home):
        with suppress(OSError):  # not empty: an engine that this process could not stop still answers there
            (shelter / "run").rmdir()
            shelter.rmdir()
            (home / "sockets").unlink()


def _fits(folder: Path) -> bool:
    path = str(folder / _LONGEST_NAME)
    return _PLAIN.fullmatch(path) is not None and len(path) <= _LIMIT_BYTES


def _shelter_name(home: Path) -> str:
    return "holdfast-" + hashlib.sha256(os.fsencode(home)).hexdigest()[:16]


def _recorded_shelter(home: Path) -> Path | None:
    link = home / "sockets"
    if _fits(home / "run") or not link.is_symlink():
        return None
    shelter = link.readlink()
    # A copied data folder brings the original's link along; the name tells whose it is.
    return shelter if shelter.name == _shelter_name(home) and _is_private(shelter, home) else None


def _make_shelter(home: Path) -> Path:
    parents = (tempfile.gettempdir(), "/tmp")  # noqa: S108  the second for a TMPDIR that is too long itself
    candidates = [Path(parent).resolve() / _shelter_name(home) for parent in parents]
    shelter = next((path for path in candidates if _fits(path / "run")), candidates[-1])
    shelter.mkdir(mode=0o700, exist_ok=True)
    owner = home.stat()
    if os.geteuid() == 0 and shelter.lstat().st_uid == 0 and owner.st_uid != 0:
        os.chown(shelter, owner.st_uid, owner.st_gid, follow_symlinks=False)
    if not _is_private(shelter, home):
        raise EngineStartError(
            f"{shelter} should hold the sockets of {home} but is not a private folder of its owner. Remove "
            f"it, or give Holdfast a data folder with a shorter path."
        )
    link = home / "sockets"
    link.unlink(missing_ok=True)
    link.symlink_to(shelter)
    return shelter


def _is_private(shelter: Path, home: Path) -> bool:
    try:
        status = shelter.lstat()
    except FileNotFoundError:
        return False
    is_folder_of_ours = status.st_uid == home.stat().st_uid and shelter.is_dir() and not shelter.is_symlink()
    return is_folder_of_ours and status.st_mode & 0o077 == 0
