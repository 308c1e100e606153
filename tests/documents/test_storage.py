"""Uploads are stored whole or not at all, under names of our own, and a store that is away is told so."""

import asyncio
import hashlib
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.documents.storage import UploadStore
from holdfast.errors import ConfigurationError, StorageUnavailable
from simulated_bucket import simulated_bucket
from waiting import wait_for


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "some where" / "uploads"


@pytest.fixture
def store(folder):
    return UploadStore(folder.as_uri())


async def pieces(*contents):
    for content in contents:
        yield content


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_upload_is_kept_byte_for_byte(store, loop, folder, tmp_path):
    content = [bytes([number]) * 3_000_000 for number in range(5)]
    upload = loop.run(store.save(pieces(*content)))
    store.download(upload.key, tmp_path / "copy")

    whole = b"".join(content)
    assert (tmp_path / "copy").read_bytes() == whole
    assert (upload.size, upload.sha256) == (len(whole), hashlib.sha256(whole).digest())
    assert upload.head == whole[:4096]
    assert len(files(folder)) == 1


def test_empty_upload_is_kept(store, loop, tmp_path):
    upload = loop.run(store.save(pieces()))
    store.download(upload.key, tmp_path / "copy")

    assert (upload.size, upload.head) == (0, b"")
    assert (tmp_path / "copy").read_bytes() == b""


@pytest.mark.parametrize("size", [10, 20_000_000])
def test_upload_that_breaks_off_leaves_nothing(store, loop, folder, size):
    async def broken():
        yield b"x" * size
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        loop.run(store.save(broken()))
    assert files(folder) == []


def test_upload_that_is_cancelled_leaves_nothing(store, loop, folder):
    async def save_and_cancel():
        is_waiting = asyncio.Event()

        async def endless():
            yield b"x" * 8_000_000
            is_waiting.set()
            await asyncio.Event().wait()

        saving = asyncio.create_task(store.save(endless()))
        await is_waiting.wait()
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving

    loop.run(save_and_cancel())
    wait_for(lambda: not files(folder), "an empty folder", seconds=5)


def test_discarding_twice_is_no_error(store, loop, folder):
    upload = loop.run(store.save(pieces(b"x")))
    loop.run(store.discard(upload.key))
    loop.run(store.discard(upload.key))
    store.remove(upload.key)

    assert files(folder) == []


def test_download_of_nothing_says_so(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.download("uploads/none", tmp_path / "copy")


@pytest.mark.parametrize("url", ["ftp://host/folder", "nonsense", "s3:", "file:///proc/nowhere/uploads"])
def test_url_that_cannot_work_is_a_configuration_error(url, loop):
    store = UploadStore(url)  # nothing is opened before it is needed

    with pytest.raises(ConfigurationError, match="HOLDFAST_STORAGE_URL") as caught:
        loop.run(store.save(pieces(b"x")))
    assert "\n" not in str(caught.value)


@pytest.fixture
def s3(monkeypatch):
    """Make stores in an S3 at a port of this machine."""

    def make(port):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        return UploadStore("s3://bucket/prefix")

    return make


def test_bucket_that_cannot_be_reached_is_told_within_seconds(s3, loop, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    store = s3(port)

    started = time.monotonic()
    with pytest.raises(StorageUnavailable, match="could not be stored") as caught:
        loop.run(store.save(pieces(b"x")))
    with pytest.raises(StorageUnavailable, match="could not be read"):
        store.download("uploads/none", tmp_path / "copy")
    with pytest.raises(StorageUnavailable, match="could not be removed"):
        store.remove("uploads/none")
    assert time.monotonic() - started < 15
    assert "\n" not in str(caught.value)


@pytest.fixture
def bucket(monkeypatch):
    """The objects of a bucket that the environment tells of as S3's own tools read it."""
    with simulated_bucket() as (url, objects):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
        yield objects


@pytest.mark.parametrize("size", [0, 10, 12_000_000])
def test_bucket_keeps_an_upload_under_its_prefix(bucket, loop, tmp_path, size):
    store = UploadStore("s3://documents/holdfast")
    content = b"kelp" * (size // 4)
    upload = loop.run(store.save(pieces(content)))
    assert bucket == {f"/documents/holdfast/{upload.key}": content}

    store.download(upload.key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    loop.run(store.discard(upload.key))
    loop.run(store.discard(upload.key))
    assert bucket == {}
    with pytest.raises(FileNotFoundError):
        store.download(upload.key, tmp_path / "copy")


def test_bucket_lists_all_its_older_uploads(bucket, loop):
    store = UploadStore("s3://documents/holdfast")
    bucket["/documents/holdfast/elsewhere"] = bucket["/documents/uploads/other"] = b""
    keys = {loop.run(store.save(pieces(b"kelp"))).key for _ in range(7)}

    # The simulated bucket says of each that it was stored at ten o'clock on 22 November 2026.
    age = datetime.now(UTC) - datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert set(store.older_keys(age - timedelta(minutes=1))) == keys
    assert list(store.older_keys(age + timedelta(minutes=1))) == []


def test_bucket_belongs_to_the_first_database_that_claims_it(bucket):
    assert UploadStore("s3://documents/holdfast").claim("one")
    assert UploadStore("s3://documents/holdfast").claim("one")
    assert not UploadStore("s3://documents/holdfast").claim("other")
    assert UploadStore("s3://documents/another").claim("other")


def test_bucket_that_is_away_is_neither_listed_nor_claimed(s3):
    with pytest.raises(StorageUnavailable):
        list(s3(1).older_keys(timedelta()))
    with pytest.raises(StorageUnavailable):
        s3(1).claim("one")


def test_bucket_keeps_nothing_of_an_upload_that_breaks_off(bucket, loop):
    async def broken():
        yield b"x" * 12_000_000
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        loop.run(UploadStore("s3://documents").save(broken()))
    assert bucket == {}
