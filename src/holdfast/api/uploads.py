"""The upload form, from the network into the store without a stop.

All that can be refused is refused out of the stream that the store reads, so that a refused, cut off or
broken upload is never stored: the store leaves nothing of a stream that raises.
"""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue, TypeAdapter, ValidationError
from starlette.requests import Request

from holdfast.api.file_names import clean_name
from holdfast.api.multipart import OVERHEAD_BYTES, Event, Part, PartEnd, read_parts
from holdfast.api.problems import Refused
from holdfast.documents.reading import HEAD_BYTES, is_supported_name, sniff, supported_suffixes
from holdfast.documents.storage import Upload, UploadStore
from holdfast.errors import DocumentError, StorageUnavailable
from holdfast.schemas import COLLECTION_PATTERN, Notify

log = logging.getLogger(__name__)

DEFAULT_COLLECTION: Final = "default"
_MAX_FIELD_BYTES: Final = 8 * 1024
_FIELDS: Final = ("collection", "notify")
_NOTIFY: Final[TypeAdapter[dict[str, JsonValue]]] = TypeAdapter(Notify)
# What shows in a file's first bytes and no ingestion could mend. Other faults are the job's to report, so
# that the document says why.
_REFUSED_TYPES: Final = ("empty", "unsupported_type")


@dataclass(frozen=True)
class ReceivedUpload:
    """A stored file, what it is called, the collection it is meant for, and whom to notify."""

    upload: Upload
    name: str
    collection: str
    notify: dict[str, JsonValue] | None = None


@asynccontextmanager
async def received_upload(
    request: Request, store: UploadStore, *, max_bytes: int
) -> AsyncIterator[ReceivedUpload]:
    """Store the form's file; it is removed again if the block raises.

    Raises:
        Refused: the form or its file cannot be taken; nothing was stored.
        StorageUnavailable: the store cannot be reached.
    """
    try:
        form = _UploadForm(request, max_bytes)
        await form.find_file()
        upload = await store.save(form.content())
    except Refused as refused:
        # The rest of the body is not read. HTTP/2 closes the stream by itself.
        if request.scope.get("http_version", "1.1").startswith("1"):
            refused.headers["Connection"] = "close"
        raise
    try:
        yield ReceivedUpload(upload, form.file_name, form.collection, form.notify)
    except BaseException:
        await _discard(store, upload.key)
        raise


class _UploadForm:
    """A form with one `file` and perhaps fields, in any order; read once, front to back."""

    def __init__(self, request: Request, max_bytes: int) -> None:
        self.file_name = ""
        self.notify: dict[str, JsonValue] | None = None
        self._fields: dict[str, str] = {}
        self._max_bytes = max_bytes
        most = max_bytes + OVERHEAD_BYTES
        if int(request.headers.get("Content-Length", 0)) > most:
            raise self._too_large()
        self._events = read_parts(request.stream(), request.headers.get("Content-Type"), max_bytes=most)

    @property
    def collection(self) -> str:
        return self._fields.get("collection", DEFAULT_COLLECTION)

    async def find_file(self) -> None:
        """Read up to the beginning of the file's content."""
        part = await self._read_fields()
        if part is None:
            raise Refused("missing_file", "Send the document as a file in the field `file`.")
        self.file_name = clean_name(part.file_name or "")
        if not is_supported_name(self.file_name):
            raise Refused("unsupported_type", f"Files that can be ingested: {_supported()}.")

    async def content(self) -> AsyncIterator[bytes]:
        """The file's bytes; ends when the form is whole and all of it is in order."""
        size, head = 0, b""
        async for event in self._events:
            if not isinstance(event, bytes):
                break
            size += len(event)
            if size > self._max_bytes:
                raise self._too_large()
            if len(head) < HEAD_BYTES:
                head += event[: HEAD_BYTES - len(head)]
                if len(head) == HEAD_BYTES:
                    _check_type(head, self.file_name)
            yield event
        if size < HEAD_BYTES:
            _check_type(head, self.file_name)
        if await self._read_fields() is not None:
            raise Refused("several_files", "Send one file a request.")

    async def _read_fields(self) -> Part | None:
        """Read fields up to the next file, or to the end of the form."""
        async for event in self._events:
            assert isinstance(event, Part)  # noqa: S101 - between parts nothing else comes
            if event.name == "file":
                if event.file_name is None:
                    raise Refused("missing_file", "The field `file` must be a file, with a file name.")
                return event
            self._keep_field(event, await _field_value(self._events))
        return None

    def _keep_field(self, part: Part, value: str) -> None:
        if part.name not in _FIELDS or part.name in self._fields:
            raise Refused("invalid_field", "The form takes `file`, `collection` and `notify`, each once.")
        if part.name == "notify":
            self.notify = _notify(value)
        elif not re.fullmatch(COLLECTION_PATTERN, value):
            raise Refused("invalid_field", f"`collection` must match {COLLECTION_PATTERN}.")
        self._fields[part.name] = value

    def _too_large(self) -> Refused:
        return Refused("upload_too_large", f"Files may have {self._max_bytes:,} bytes at most.")


async def _field_value(events: AsyncIterator[Event]) -> str:
    value = b""
    async for event in events:
        if isinstance(event, PartEnd):
            break
        assert isinstance(event, bytes)  # noqa: S101 - a part holds nothing else
        value += event
        if len(value) > _MAX_FIELD_BYTES:
            raise Refused("invalid_field", f"Fields may have {_MAX_FIELD_BYTES} bytes at most.")
    return value.decode("utf-8", "replace")


def _notify(value: str) -> dict[str, JsonValue]:
    try:
        return _NOTIFY.validate_json(value)
    except ValidationError as error:
        raise Refused("invalid_field", "`notify` is a JSON object of channels and targets.") from error


def _check_type(head: bytes, name: str) -> None:
    try:
        sniff(head, name)
    except DocumentError as error:
        if error.code in _REFUSED_TYPES:
            raise Refused(error.code, error.message) from error


def _supported() -> str:
    return ", ".join(sorted(supported_suffixes()))


async def _discard(store: UploadStore, key: str) -> None:
    try:
        await store.discard(key)
    except StorageUnavailable as error:
        log.warning("The upload %s has no document and could not be removed: %s", key, error)
