"""The `holdfast` command of this virtual environment, and the processes it leaves."""

import sys
from pathlib import Path

import httpx
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


def is_ready(port):
    """Whether an API listens there and has what it needs."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False
