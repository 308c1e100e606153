"""A folder for the files of one ingestion. One whose process was killed is removed by whoever comes next."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from holdfast.engines.locks import exclusively, is_locked

PREFIX: Final = "holdfast-ingest-"
# The moment between making a folder and locking it is much shorter.
YOUNG_SECONDS: Final = 60.0
_LOCK: Final = "lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder, removed at the end of the block."""
    remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        with exclusively(folder / _LOCK):
            yield folder


def remove_abandoned() -> int:
    """Remove the folders of this machine whose processes are gone; returns how many."""
    abandoned = [each for each in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if _is_abandoned(each)]
    for folder in abandoned:
        shutil.rmtree(folder, ignore_errors=True)
    return len(abandoned)


def _is_abandoned(folder: Path) -> bool:
    # Somebody else's folder cannot be looked into, and one that has just been removed not either.
    with suppress(OSError):
        age = time.time() - folder.stat().st_mtime
        return age > YOUNG_SECONDS and not is_locked(folder / _LOCK)
    return False
