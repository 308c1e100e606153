"""Real documents: the manuals and documentation that `scripts/install-debian` installs."""

import gzip
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PACKAGES = (
    "debian-policy",
    "debian-reference-en",
    "developers-reference",
    "debmake-doc",
    "gnuplot-doc",
    "postgresql-doc-15",
    "python3.11-doc",
    "sqlite3-doc",
    "python-celery-doc",
)
# Under these names Debian ships documents; a `.gz` behind them is unpacked first, for nobody uploads that.
KINDS = {".pdf": "PDF", ".html": "HTML", ".txt": "text"}
# Lists for the package system and the machinery of web pages, not documents.
LEFT_OUT = ("copyright", "searchindex", "genindex-all")


@dataclass(frozen=True)
class Source:
    """A document to upload."""

    path: Path
    package: str
    kind: str
    size: int


class NotInstalled(Exception):
    """The Debian packages are missing."""


def collect(folder: Path, packages: Sequence[str] = PACKAGES) -> list[Source]:
    """Copy the packages' documents into a folder, each under a name that tells where it is from.

    Files that Debian installs twice, as a link or compressed, are taken once. Sorted by name.

    Raises:
        NotInstalled: a package is missing; `scripts/install-debian` installs it.
    """
    folder.mkdir(parents=True)
    sources: dict[Path, Source] = {}
    for package in packages:
        for path in _installed_files(package):
            source = _copied(path, package, folder)
            if source is not None:
                sources[source.path] = source
    return sorted(sources.values(), key=lambda source: source.path)


def _copied(path: Path, package: str, folder: Path) -> Source | None:
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    kind = KINDS.get(plain.suffix)
    if kind is None or plain.stem in LEFT_OUT or path.is_symlink() or not path.is_file():
        return None
    inside = [part for part in plain.parts if part not in ("/", "usr", "share", "doc", package)]
    target = folder / "--".join([package, *inside])
    with _opened(path) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    size = target.stat().st_size
    return Source(target, package, kind, size) if size else None


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _installed_files(package: str) -> Iterator[Path]:
    done = subprocess.run(["dpkg", "--listfiles", package], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotInstalled(f"{package} is not installed; run scripts/install-debian.")
    return (Path(line) for line in done.stdout.splitlines())
