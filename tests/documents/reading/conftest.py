"""Files to read and a way to read them whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.documents.reading import Part, ReadLimits, read_document
from holdfast.errors import DocumentError

Save = Callable[[bytes, str], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(content: bytes, name: str) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def read(save: Save) -> Callable[..., list[Part]]:
    def parts(content: bytes, name: str, limits: ReadLimits | None = None) -> list[Part]:
        with read_document(save(content, name), name, limits or ReadLimits()) as document:
            return list(document.parts)

    return parts


@pytest.fixture
def refusal(read: Callable[..., list[Part]]) -> Callable[..., DocumentError]:
    """Read a document that cannot be read and return the error."""

    def error(content: bytes, name: str, limits: ReadLimits | None = None) -> DocumentError:
        with pytest.raises(DocumentError) as caught:
            read(content, name, limits)
        assert caught.value.stage == "read"
        return caught.value

    return error
