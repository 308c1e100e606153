"""What the commands make of an API that is not Holdfast's."""

import http.server
import threading

import pytest

from holdfast.cli.remote import Remote, RequestRefused
from holdfast.errors import ConfigurationError


@pytest.fixture
def stranger():
    """A server of somebody else's that answers everything with the page that is in `stranger.answer`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = server.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def remote(stranger):
    remote = Remote(f"http://127.0.0.1:{stranger.server_port}", "hf_00000000_x")
    yield remote
    remote.close()


@pytest.mark.parametrize("body", [b"<h1>It works!</h1>", b"[]", b"{}", b"null"])
def test_success_that_is_not_holdfasts_is_told(remote, stranger, body):
    stranger.answer = (200, body)
    with pytest.raises(ConfigurationError, match="is not Holdfast"):
        remote.get("/v1/jobs")


@pytest.mark.parametrize("body", [b"<h1>Not found</h1>", b"[]"])
def test_error_that_is_not_holdfasts_is_told_by_its_status(remote, stranger, body):
    stranger.answer = (404, body)
    with pytest.raises(RequestRefused, match="HTTP status 404"):
        remote.get("/v1/jobs")
