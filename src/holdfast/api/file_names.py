"""What remains of a name that a client gave its file: a label, and never a path."""

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

from holdfast.api.problems import Refused

MAX_CHARACTERS: Final = 255
_MAX_SUFFIX: Final = 16

# Beside control characters: marks that turn the direction of writing, with which `exe.txt` is shown as
# `txt.exe`, the separators of lines and paragraphs, and halves of surrogate pairs.
_INVISIBLE: Final = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def clean_name(given: str) -> str:
    """The last component of the given name, without control characters, in NFC, at most 255 characters.

    A longer one is shortened before its suffix.

    Raises:
        Refused: nothing remains (`invalid_file_name`).
    """
    last = re.split(r"[/\\]", _INVISIBLE.sub("", given))[-1]
    name = unicodedata.normalize("NFC", last).strip()
    if not name.strip(". "):
        raise Refused("invalid_file_name", "Give the file a name, such as `report.pdf`.")
    if len(name) <= MAX_CHARACTERS:
        return name
    suffix = PurePosixPath(name).suffix
    if len(suffix) > _MAX_SUFFIX:
        suffix = ""
    return name[: MAX_CHARACTERS - len(suffix)].rstrip() + suffix
