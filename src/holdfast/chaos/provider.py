"""A server outside of everything that counts paid calls: `python -m holdfast.chaos.provider PORT`.

It is told job, step, attempt and idempotency key with each call, takes 30 to 80 ms for an answer, and forgets
nothing until it ends. No fault touches it, so what it has counted is what was bought.
"""

import json
import os
import random
import sys
import threading
import time
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

ANSWER_SECONDS = (0.03, 0.08)
PORT_VARIABLE = "HOLDFAST_CHAOS_PROVIDER"
_HOST = "127.0.0.1"
_PATIENCE_SECONDS = 10


@dataclass(frozen=True)
class PaidCall:
    """One call that was bought: the attempt that made it, and the key it named."""

    job_id: str
    step: str
    attempt: int
    key: str


def pay(job_id: UUID, step: str, attempt: int, key: str) -> str:
    """Buy an answer; the port is that of the environment.

    Raises:
        OSError: the server is not there.
    """
    call = PaidCall(str(job_id), step, attempt, key)
    connection = HTTPConnection(_HOST, int(os.environ[PORT_VARIABLE]), timeout=_PATIENCE_SECONDS)
    try:
        connection.request("POST", "/calls", json.dumps(asdict(call)))
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def paid_calls(port: int) -> list[PaidCall]:
    """Every call that was bought, in the order in which they came."""
    connection = HTTPConnection(_HOST, port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/calls")
        return [PaidCall(**call) for call in json.loads(connection.getresponse().read())]
    finally:
        connection.close()


class _Handler(BaseHTTPRequestHandler):
    calls: list[PaidCall]
    lock: threading.Lock

    def do_POST(self) -> None:
        call = PaidCall(**json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        with self.lock:
            self.calls.append(call)
        time.sleep(random.uniform(*ANSWER_SECONDS))  # noqa: S311 - not a secret
        self._answer(f"answer to {call.step}".encode())

    def do_GET(self) -> None:
        with self.lock:
            content = json.dumps([asdict(call) for call in self.calls])
        self._answer(content.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: thousands of calls are not worth a line each."""

    def _answer(self, content: bytes) -> None:
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            return  # the caller was killed; the call counts all the same


def serve(port: int) -> None:
    """Count calls until the process is ended."""
    handler = type("Handler", (_Handler,), {"calls": [], "lock": threading.Lock()})
    server = ThreadingHTTPServer((_HOST, port), handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
