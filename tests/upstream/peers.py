"""Raw peers: a server that answers with exactly the bytes it is told, and notes what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class RawPeer:
    """Accepts connections and hands each to the test as (reader, writer)."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.count = 0
        self.port = 0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        await self.accepted.put((reader, writer))


@asynccontextmanager
async def raw_peer(host: str = "127.0.0.1") -> AsyncIterator[RawPeer]:
    peer = RawPeer()
    server = await asyncio.start_server(peer._accept, host, 0)
    peer.port = server.sockets[0].getsockname()[1]
    writers: list[asyncio.StreamWriter] = []
    try:
        yield peer
    finally:
        server.close()
        while not peer.accepted.empty():
            writers.append(peer.accepted.get_nowait()[1])
        for writer in writers:
            writer.close()
