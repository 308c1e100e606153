"""A network that can be cut: TCP proxies on loopback, one for each link between a worker and an engine."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_HOST = "127.0.0.1"
_CHUNK_BYTES = 1 << 16


class Link:
    """One port on loopback that leads to an engine's Unix socket. Made by `Network.link`.

    The methods may be called from any thread, and return once the link is so.
    """

    def __init__(self, network: "Network", target: str) -> None:
        self._network = network
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0

    def refuse(self) -> None:
        """Close all connections, and refuse new ones: the other machine is gone."""
        self._network.run(self._refuse())

    def fall_silent(self) -> None:
        """Carry nothing more while everything seems connected: packets are lost on the way."""
        self._network.run(self._call(self._open.clear))

    def restore(self) -> None:
        """Carry again; what was on its way when the link fell silent arrives late."""
        self._network.run(self._restore())

    async def _call(self, function: Callable[[], object]) -> None:
        function()

    async def listen(self) -> None:
        """Accept connections, on the same port as before if there was one."""
        # The port is free again at once, but a connection of before may still be going down on it.
        self._server = await asyncio.start_server(self._carry, _HOST, self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Accept no more, and close what is connected."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _refuse(self) -> None:
        await self.close()

    async def _restore(self) -> None:
        self._open.set()
        if self._server is None:
            await self.listen()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


class Network:
    """The links of a run, carried by one event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-network", daemon=True)
        self._links: list[Link] = []
        self._thread.start()

    def link(self, target: str) -> Link:
        """A new link to a Unix socket's path; `Link.port` says where."""
        link = Link(self, target)
        self.run(link.listen())
        self._links.append(link)
        return link

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the network's loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def close(self) -> None:
        """Close every link, and end the thread."""
        for link in self._links:
            self.run(link.close())
        self.run(_end_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


async def _end_others() -> None:
    """Cancel every other task of this loop, and wait until they have ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
