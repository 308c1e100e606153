"""Kernel locks on files: `flock`, which ends with its holder whatever ends the holder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self


def open_private(path: Path, flags: int = os.O_RDWR) -> int:
    """Open `path`, made with mode 0600 if missing, and return the descriptor.

    The file ends up with its folder's owner: root may help out in somebody's folder without locking that
    person out of it afterwards. Symbolic links are refused.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    folder = path.parent.stat()
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid != folder.st_uid:
        os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, waiting for it as long as it takes."""
    descriptor = open_private(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Closing alone would not do: a process forked meanwhile shares this open file description.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def try_exclusive(descriptor: int) -> bool:
    """Take the exclusive lock on an open file if nobody else holds one; False means somebody does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether any process holds a lock on `path`; a missing file is locked by nobody."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not try_exclusive(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Membership:
    """This process's shared lock on the file that stands for using a folder."""

    path: Path
    descriptor: int
    pid: int

    @classmethod
    def join(cls, path: Path) -> Self:
        """Take the shared lock. Callers hold the folder's exclusive lock, so this never waits long."""
        descriptor = open_private(path)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return cls(path, descriptor, os.getpid())

    @property
    def is_inherited(self) -> bool:
        """Whether it came through a fork and is thus the parent's, to be left alone."""
        return self.pid != os.getpid()

    def disown(self) -> None:
        """Close an inherited descriptor; the parent's lock stands, as the parent still has it open."""
        os.close(self.descriptor)

    def is_current(self) -> bool:
        """Whether the file is still the one that was locked, not deleted or made anew."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    @contextmanager
    def leaving(self) -> Iterator[bool]:
        """Give the lock up. Yields whether nobody else holds one; until the block ends nobody can join."""
        try:
            yield try_exclusive(self.descriptor)
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            os.close(self.descriptor)
