"""Which user the engines run as. PostgreSQL refuses root, and it is right."""

import os
import pwd
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import EngineStartError

# linux/capability.h. The first lets an engine reach its files below folders that only root may enter; the
# second does so too and is what Docker leaves to root by default.
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_NAMES = {_CAP_DAC_OVERRIDE: "dac_override", _CAP_DAC_READ_SEARCH: "dac_read_search"}
_NOBODY = 65534


@dataclass(frozen=True)
class Account:
    """A user for the engines: this process's own or, under root, one that root switches to."""

    uid: int
    gid: int

    @property
    def is_own(self) -> bool:
        """Whether no switch is needed."""
        return self.uid == os.geteuid()

    def command(self, argv: list[str]) -> list[str]:
        """Return `argv`, whose first entry is a path, as a command that runs as this account.

        Raises:
            EngineStartError: a switch is needed and `setpriv` is not installed.
        """
        if self.is_own:
            return argv
        if (setpriv := shutil.which("setpriv")) is None:
            raise EngineStartError(
                "PostgreSQL does not run as root, and `setpriv`, which would start it as another user, was "
                "not found. Install util-linux, run Holdfast as an ordinary user, or set DATABASE_URL and "
                "REDIS_URL."
            )
        switch = [setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        kept = _capability_to_keep(Path(argv[0]))
        granted = f"-all,+{kept}" if kept else "-all"
        # initdb asks access(2) whether it may run the server, which counts a capability only with this bit
        # (capabilities(7), SECBIT_NO_SETUID_FIXUP); below a folder of root's own it would find nothing else.
        bits = ["--securebits=+no_setuid_fixup"] if kept else []
        return [*switch, *bits, f"--inh-caps={granted}", f"--ambient-caps={granted}", *argv]

    def with_a_name(self) -> "Account":
        """Return an account that initdb accepts: it insists on a name, which users in containers may lack.

        The server itself does not mind. Files that a stand-in made are to be given to this account.

        Raises:
            EngineStartError: this user has no name, and without being root there is no other to choose.
        """
        try:
            pwd.getpwuid(self.uid)
        except KeyError:
            if os.geteuid() == 0:
                return _nobody()
            raise EngineStartError(
                f"PostgreSQL cannot make its data folder for user id {self.uid}, which has no name on this "
                f"system. Add it to /etc/passwd, run as a user who is there, or set DATABASE_URL."
            ) from None
        return self

    def own_tree(self, folder: Path) -> None:
        """Make everything in `folder` this account's; only root can."""
        for parent, folders, files in os.walk(folder):
            for name in (".", *folders, *files):
                os.chown(os.path.join(parent, name), self.uid, self.gid, follow_symlinks=False)  # noqa: PTH118

    def make_folder(self, path: Path) -> Path:
        """Make `path` this account's own folder with mode 0700, or accept it when it already is one.

        Raises:
            EngineStartError: something else stands there.
        """
        path.mkdir(mode=0o700, exist_ok=True)
        if path.is_symlink() or not path.is_dir():
            raise EngineStartError(f"{path} is not a folder. Remove it.")
        if not self.is_own and path.lstat().st_uid != self.uid:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        return path


def account_for(home: Path) -> Account:
    """Choose who runs the engines of `home`: this user; under root the owner of the data, or `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for path in (home / "postgres", home / "valkey", home):
        if path.exists() and (status := path.stat()).st_uid != 0:
            return Account(status.st_uid, status.st_gid)
    return _nobody()


def _nobody() -> Account:
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return Account(_NOBODY, _NOBODY)
    return Account(nobody.pw_uid, nobody.pw_gid)


def _capability_to_keep(program: Path) -> str | None:
    status = Path("/proc/self/status").read_text()
    masks = [int(mask, 16) for mask in re.findall(r"^Cap(?:Prm|Bnd):\s*(\w+)$", status, re.MULTILINE)]
    preferred = [_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE]
    if not program.stat().st_mode & 0o001:
        preferred.reverse()  # installed under a strict umask: searching is not enough to execute it
    for capability in preferred:
        if all(mask & 1 << capability for mask in masks):
            return _CAPABILITY_NAMES[capability]
    return None
