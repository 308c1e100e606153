"""A provider that takes its time: `python -m benchmarks.contenders.provider PORT`; `GET /2.0` takes 2 s.

Bare HTTP/1.1 with keep-alive on an asyncio protocol: it has thousands of requests open at little cost.
"""

import asyncio
import sys

import uvloop

BODY = b'{"choices": [{"message": {"content": "An answer."}}]}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY


class Conversation(asyncio.Protocol):
    """One connection: a request, a wait, an answer, and so on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            path = self._received.split(b" ", 2)[1]
            self._received = b""
            asyncio.get_running_loop().call_later(float(path[1:]), self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Conversation, "127.0.0.1", port, backlog=2_048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
