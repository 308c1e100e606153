"""The `holdfast` command of this virtual environment, and the processes it leaves."""

import sys
from pathlib import Path

import psutil

HOLDFAST = str(Path(sys.executable).parent / "holdfast")


def processes_of(folder):
    """The engines, which belong to nobody and are known by their data folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in argument for argument in process.info["cmdline"] or [])
    ]


def is_alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
