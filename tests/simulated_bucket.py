"""An S3 of one bucket, as far as uploads need it (Amazon S3 API reference).

Multipart uploads, GET, DELETE, and ListObjectsV2 with three objects to a page.
"""

import hashlib
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PAGE = 3


@contextmanager
def simulated_bucket():
    """Serve an empty bucket; yields its URL and its objects by path."""
    objects = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(objects)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", objects
        finally:
            server.shutdown()
            thread.join()


def _handler(objects):
    parts = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            path, query = self._target()
            body = self._body()
            if "delete" in query:
                keys = re.findall(rb"<Key>(.*?)</Key>", body)
                for key in keys:
                    objects.pop(f"{path}/{key.decode()}", None)
                deleted = b"".join(b"<Deleted><Key>%s</Key></Deleted>" % key for key in keys)
                self._answer(200, b"<DeleteResult>%s</DeleteResult>" % deleted)
            elif "uploads" in query:
                parts[path] = {}
                self._answer(
                    200,
                    b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>",
                )
            else:
                assert b"CompleteMultipartUpload" in body
                objects[path] = b"".join(part for _, part in sorted(parts.pop(path).items()))
                self._answer(
                    200, b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
                )

        def do_PUT(self):
            path, query = self._target()
            body = self._body()
            if "partNumber" in query:
                parts[path][int(query["partNumber"][0])] = body
            else:
                objects[path] = body
            self._answer(200, b"", ETag=f'"{hashlib.md5(body).hexdigest()}"')

        def do_GET(self):
            path, query = self._target()
            if "list-type" in query:
                self._answer(200, self._page(path.rstrip("/"), query))
            elif path in objects:
                self._answer(
                    200, objects[path], ETag='"x"', **{"Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"}
                )
            else:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def _page(self, bucket, query):
            start = f"{bucket}/{query['prefix'][0]}"
            after = query.get("continuation-token", [""])[0]
            found = sorted(path for path in objects if path.startswith(start) and path > after)
            listed = "".join(
                f"<Contents><Key>{path.removeprefix(f'{bucket}/')}</Key><Size>{len(objects[path])}</Size>"
                "<LastModified>2026-11-22T10:00:00.000Z</LastModified></Contents>"
                for path in found[:PAGE]
            )
            more = f"<NextContinuationToken>{found[PAGE - 1]}</NextContinuationToken>" if found[PAGE:] else ""
            return f"<ListBucketResult>{listed}{more}</ListBucketResult>".encode()

        def do_DELETE(self):
            path, query = self._target()
            (parts if "uploadId" in query else objects).pop(path, None)
            self._answer(204, b"")

        def _target(self):
            assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=key-of-the-test/")
            target = urlsplit(self.path)
            return target.path, parse_qs(target.query, keep_blank_values=True)

        def _body(self):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, status, body, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    return Handler
