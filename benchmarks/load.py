"""Load on an HTTP server from a process of its own: wrk where it is installed, else `socket_client`."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Load:
    """What a round of load has shown. `client_cpu` is the share of a core that the client itself took."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    errors: int
    client_cpu: float


def load(
    url: str,
    paths: Path,
    headers: Mapping[str, str],
    *,
    connections: int,
    seconds: float,
    body: str | None = None,
) -> Load:
    """Ask for the paths, a line each in a file, over as many connections, without a pause.

    With a body, JSON on one line, they are POSTs.

    Raises:
        RuntimeError: the client failed.
    """
    command = _wrk(url, headers, connections, seconds) or _own(url, headers, connections, seconds)
    given = {"PATHS": str(paths), **({} if body is None else {"BODY": body})}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        env=os.environ | given,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not results:
        raise RuntimeError(f"{command[0]} failed: {done.stdout} {done.stderr}")
    facts = json.loads(results[0].removeprefix("RESULT "))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Load(
        requests=facts["requests"],
        rate=facts["requests"] / facts["seconds"],
        p50_ms=facts["p50_ms"],
        p99_ms=facts["p99_ms"],
        errors=facts["errors"],
        client_cpu=cpu / facts["seconds"],
    )


def client_name() -> str:
    return "wrk" if shutil.which("wrk") else "socket_client"


def _wrk(url: str, headers: Mapping[str, str], connections: int, seconds: float) -> list[str] | None:
    if not shutil.which("wrk"):
        return None
    given = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    options = ["--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s"]
    return ["wrk", *options, "--script", str(HERE / "load.lua"), *given, url]


def _own(url: str, headers: Mapping[str, str], connections: int, seconds: float) -> list[str]:
    client = [sys.executable, str(HERE / "socket_client.py")]
    return [*client, url, json.dumps(dict(headers)), str(connections), str(seconds)]
