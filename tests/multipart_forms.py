"""Multipart forms, byte by byte, so that they can be wrong."""

BOUNDARY = "kelp-boundary"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def field(name, value):
    return part(f'name="{name}"', value.encode())


def file(name, content, field="file"):
    """A part with a file name, given as text or as raw bytes."""
    raw = name.encode() if isinstance(name, str) else name
    return part(b'name="' + field.encode() + b'"; filename="' + raw + b'"', content)


def part(disposition, content):
    raw = disposition.encode() if isinstance(disposition, str) else disposition
    head = b"--" + BOUNDARY.encode() + b"\r\nContent-Disposition: form-data; " + raw + b"\r\n\r\n"
    return head + content + b"\r\n"


def end():
    return b"--" + BOUNDARY.encode() + b"--\r\n"


def form(*parts):
    return b"".join(parts) + end()


def in_pieces(body, size):
    """The body as a stream of pieces, to be sent without a Content-Length."""

    async def pieces():
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return pieces()
