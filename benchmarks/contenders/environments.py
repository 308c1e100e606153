"""Each contender's own environment, made by uv under `.bench/`, with the newest releases there are.

Made once and kept; `make clean` removes them, and the next run takes what is newest then. What was installed
is in the results.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bed import ROOT

FOLDER = ROOT / ".bench"
UV = str(Path(sys.executable).with_name("uv"))
INSTALL_SECONDS = 600


class NotInstalled(Exception):
    """An environment could not be made."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def versions(self) -> dict[str, str]:
        """Every package in it."""
        listed = _uv("pip", "list", "--python", self.program("python"), "--format", "json")
        return {each["name"]: each["version"] for each in json.loads(listed)}


def environment(name: str, packages: Sequence[str]) -> Environment:
    """The environment of this name with these packages; made if it is not there yet.

    Raises:
        NotInstalled: it cannot be made; the end of what uv says.
    """
    folder = FOLDER / name
    made_of = folder / "made-of.json"
    if not made_of.exists() or json.loads(made_of.read_text()) != list(packages):
        FOLDER.mkdir(exist_ok=True)
        print(f"Installing {name} into {folder.relative_to(ROOT)}", flush=True)
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        made = Environment(folder)
        _uv("pip", "install", "--quiet", "--python", made.program("python"), *packages)
        made_of.write_text(json.dumps(list(packages)))
    return Environment(folder)


def _uv(*arguments: str) -> str:
    try:
        done = subprocess.run(
            [UV, *arguments], capture_output=True, text=True, timeout=INSTALL_SECONDS, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"uv {arguments[0]} took more than {INSTALL_SECONDS} s.") from error
    except subprocess.CalledProcessError as error:
        raise NotInstalled(error.stderr[-1_000:]) from error
    return done.stdout
