"""An HTTP server that answers as a test has written down, and remembers what it was asked."""

import http.server
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """One answer; with `breaks` the connection is cut before the body is whole."""

    status: int = 200
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    breaks: bool = False


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: dict
    body: bytes


def json_answer(value, status=200, **headers):
    headers = {name.replace("_", "-"): content for name, content in headers.items()}
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def problem_answer(status, code, *, retryable=False, detail="No.", errors=None, **headers):
    problem = {"status": status, "code": code, "title": "T", "detail": detail, "retryable": retryable}
    return json_answer(
        problem | {"request_id": "r-1"} | ({"errors": errors} if errors else {}), status, **headers
    )


def event_stream(*frames, breaks=False):
    """Frames as `(id, event, data)`."""
    text = ": kept alive\n\n"
    for number, event, data in frames:
        text += f"id: {number}\nevent: {event}\ndata: {json.dumps(data)}\n\n"
    return Answer(200, text.encode(), {"Content-Type": "text/event-stream"}, breaks)


@contextmanager
def scripted_server():
    """A server on loopback. `script` holds the answers to come, the last of which stays; `asked` the past."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.script, server.asked = [], []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(Asked(self.command, self.path, dict(self.headers), body))
        answer = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        self.send_response(answer.status)
        # One byte more than there is: who reads it notices that the connection ends too early.
        self.send_header("Content-Length", str(len(answer.body) + answer.breaks))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_POST = do_DELETE = do_GET  # noqa: N815 - named by http.server

    def log_message(self, *arguments):
        pass
