"""A receiver of webhooks on loopback, which answers as a test wants it to, and remembers what came.

with SimulatedReceiver(tls) as receiver:
    receiver.answer_next(status=503, headers={"Retry-After": "7"})
    ...
    assert receiver.came[0].headers["webhook-id"]
"""

import json
import ssl
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Came:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to answer: `hangs` says nothing until the receiver is closed, `drips` says it byte by byte, and
    `closes` hangs up instead.
    """

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs: bool = False
    drips: bool = False
    closes: bool = False


class SimulatedReceiver:
    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.came: list[Came] = []
        self.bytes_sent = 0
        self._answers: deque[Answer] = deque()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.tls = tls
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def answer_next(self, **answer) -> None:
        self._answers.append(Answer(**answer))

    def __enter__(self) -> "SimulatedReceiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _handler(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.came.append(Came(self.path, headers, body))
                answer = receiver._answers.popleft() if receiver._answers else Answer()
                if answer.hangs:
                    receiver._closing.wait(30)
                    return
                if answer.closes:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self._send(answer)

            def _send(self, answer):
                size = 1 if answer.drips else 65_536
                for start in range(0, len(answer.body), size):
                    self.wfile.write(answer.body[start : start + size])
                    receiver.bytes_sent += size
                    if answer.drips and receiver._closing.wait(0.05):
                        return

            def log_message(self, *_):
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def finish_request(self, request, client_address):
        # The handshake takes place in the connection's own thread.
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        pass  # clients that leave are what is tested
