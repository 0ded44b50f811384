"""A TCP proxy that a test can cut, or make deaf, between a driver and its server."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

_DRIP = 1000
_DRIP_PAUSE = 0.001


class Proxy:
    """Passes bytes on in both directions until told otherwise. The counters are bytes of all connections so far."""

    def __init__(self) -> None:
        self.port = 0
        self.sent = 0
        """Bytes that went to the server."""
        self.deaf = asyncio.Event()
        """While set, the server's answers are dropped, and the client hears nothing."""
        self.flowing = asyncio.Event()
        """While not set, nothing passes in either direction, and nobody is told."""
        self.flowing.set()
        self.piece = 1 << 16
        """Bytes that are passed on at once; fewer than a thousand drip, with a pause after each."""
        self.refusing = False
        """Connections are broken off as soon as they are made."""
        self.cuts = b""
        """A connection on which the client sends this is broken; empty: none is."""
        self._serving: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._servers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break all connections: the clients are reset, the server sees the end of what was sent.

        It is not reset: over a reset between two queries, the test engine aborts on its native port.
        """
        for client in self._clients:
            client.transport.abort()
        for server in self._servers:
            if not server.transport.is_closing():
                server.write_eof()
        self._clients.clear()
        self._servers.clear()

    async def end(self) -> None:
        """Break all connections, and wait until both sides have heard of it."""
        self.cut()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_connection(host, port)
        self._clients.add(writer)
        self._servers.add(server_writer)
        try:
            await asyncio.gather(
                self._pass_on(reader, server_writer, upstream=True),
                self._pass_on(server_reader, writer, upstream=False),
            )
        finally:
            server_writer.transport.abort()
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upstream: bool) -> None:
        open_still = True
        with suppress(OSError):
            while data := await reader.read(self.piece):
                await self.flowing.wait()
                if self.piece < _DRIP:
                    await asyncio.sleep(_DRIP_PAUSE)
                if upstream:
                    self.sent += len(data)
                    if self.cuts and self.cuts in data:
                        break
                if open_still and (upstream or not self.deaf.is_set()):
                    try:
                        writer.write(data)
                        await writer.drain()
                    except OSError:
                        open_still = False
        if not upstream:
            writer.transport.abort()
        elif not writer.transport.is_closing():
            with suppress(OSError):
                writer.write_eof()


@asynccontextmanager
async def proxy_to(host: str, port: int, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Proxy]:
    """Run a proxy in front of a server, one that speaks TLS to its clients if it is given a certificate."""
    proxy = Proxy()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy._serving.add(asyncio.create_task(proxy._serve(reader, writer, host, port)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
