"""Where uploads are kept: a local folder, or an S3, Google Cloud or Azure bucket, through obstore."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from holdfast.documents.reading import HEAD_BYTES
from holdfast.errors import ConfigurationError, StorageUnavailable
from holdfast.jobs.ids import new_id
from holdfast.jobs.process import PerProcess

# A part at a time and one on its way: what one upload holds in memory. S3 takes parts from 5 MiB on.
_PART_BYTES: Final = 5 << 20
_PARTS_UNDER_WAY: Final = 1
# Whose store this is: what removes uploads that nobody needs must not meet those of another database.
_MARK: Final = "holdfast-database"
# A bucket that is away is told within seconds, not after obstore's three minutes: an upload's client waits,
# and a job is tried again later anyway. An endpoint in plain HTTP, such as MinIO next door, is the operator's
# choice and needs no second setting.
_BUCKET_OPTIONS: Final[dict[str, Any]] = {
    "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=5)},
    "client_options": {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=3),
        "timeout": timedelta(seconds=30),
    },
}


@dataclass(frozen=True)
class Upload:
    """A stored file: its key, size in bytes, SHA-256, and its first bytes, for telling what it is."""

    key: str
    size: int
    sha256: bytes
    head: bytes


class UploadStore:
    """Stores uploads under keys that nobody chose: no name of a user's ever becomes a path.

    Args:
        url: `s3://bucket/prefix`, `gs://...`, `az://...` or `file:///folder`. Credentials come from the
            environment as each provider's own tools read them; `AWS_ENDPOINT_URL` names another S3.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        # obstore runs threads of its own, which a forked child does not have.
        self._store = PerProcess(self._open)

    async def save(self, content: AsyncIterator[bytes]) -> Upload:
        """Store what the iterator gives, as it comes. If it raises, nothing is left stored.

        Raises:
            StorageUnavailable: the store refused or could not be reached.
        """
        key = f"uploads/{new_id()}"
        digest = _Digest(content)
        try:
            await obstore.put_async(
                self._store.get(),
                key,
                digest,
                use_multipart=True,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_UNDER_WAY,
            )
        except BaseError as error:
            raise _unavailable("stored", error) from error
        return Upload(key, digest.size, digest.sha256.digest(), bytes(digest.head))

    async def exists(self, key: str) -> bool:
        """Whether there is such an upload.

        Raises:
            StorageUnavailable: the store refused or could not be reached.
        """
        try:
            await obstore.head_async(self._store.get(), key)
        except FileNotFoundError:
            return False
        except BaseError as error:
            raise _unavailable("looked for", error) from error
        return True

    async def discard(self, key: str) -> None:
        """Remove an upload; one that is not there is no error.

        Raises:
            StorageUnavailable: the store refused or could not be reached.
        """
        try:
            await obstore.delete_async(self._store.get(), key)
        except FileNotFoundError:
            return
        except BaseError as error:
            raise _unavailable("removed", error) from error

    def remove(self, key: str) -> None:
        """`discard`, in sync code."""
        try:
            obstore.delete(self._store.get(), key)
        except FileNotFoundError:
            return
        except BaseError as error:
            raise _unavailable("removed", error) from error

    def download(self, key: str, path: Path) -> None:
        """Copy an upload into a file, as it comes.

        Raises:
            FileNotFoundError: there is no such upload.
            StorageUnavailable: the store refused or could not be reached.
        """
        try:
            with path.open("wb") as file:
                for part in obstore.get(self._store.get(), key).stream(min_chunk_size=1 << 20):
                    file.write(part)
        except BaseError as error:
            raise _unavailable("read", error) from error

    def older_keys(self, age: timedelta) -> Iterator[str]:
        """The keys of the uploads that were stored longer ago than `age`, in no order.

        Raises:
            StorageUnavailable: the store refused or could not be reached.
        """
        until = datetime.now(UTC) - age
        try:
            for page in obstore.list(self._store.get(), "uploads", chunk_size=1_000):
                yield from (found["path"] for found in page if found["last_modified"] < until)
        except BaseError as error:
            raise _unavailable("listed", error) from error

    def claim(self, name: str) -> bool:
        """Mark the store as that of the database of this name; `False`: it is marked as another's.

        Raises:
            StorageUnavailable: the store refused or could not be reached.
        """
        try:
            return self._mark(name.encode()) == name.encode()
        except BaseError as error:
            raise _unavailable("claimed", error) from error

    def _mark(self, mark: bytes) -> bytes:
        store = self._store.get()
        try:
            return bytes(obstore.get(store, _MARK).bytes())
        except FileNotFoundError:
            obstore.put(store, _MARK, mark)
            return mark

    def _open(self) -> ObjectStore:
        try:
            if self._url.startswith("file:"):
                return from_url(self._url, mkdir=True, automatic_cleanup=True)
            return from_url(self._url, **_BUCKET_OPTIONS)
        except (BaseError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"HOLDFAST_STORAGE_URL {self._url!r} cannot be used: {_summary(error)}"
            ) from error


class _Digest:
    """Passes bytes on, and measures them on the way."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self._content = content
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.head = bytearray()

    def __aiter__(self) -> "_Digest":
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._content)
        self.size += len(piece)
        self.sha256.update(piece)
        if len(self.head) < HEAD_BYTES:
            self.head += piece[: HEAD_BYTES - len(self.head)]
        return piece


def _unavailable(done: str, error: BaseError) -> StorageUnavailable:
    return StorageUnavailable(f"The upload could not be {done}: {_summary(error)}")


def _summary(error: Exception) -> str:
    # obstore goes on with a dump of its own structures.
    return str(error).partition("\n")[0]
