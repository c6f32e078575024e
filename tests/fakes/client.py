"""A client that sends exact bytes and reads exact bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

from tests.fakes.arrivals import PATIENCE


@dataclass
class Answer:
    """One answer: its header section byte for byte, and its content without the framing."""

    head: bytes
    content: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def fields(self) -> list[tuple[str, str]]:
        return parse_fields(self.head)

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found.lower() == name.lower()]

    def value(self, name: str) -> str | None:
        return next(iter(self.values(name)), None)


def parse_fields(head: bytes) -> list[tuple[str, str]]:
    """Return the fields of a header section, in order, with repeats."""
    lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")[1:]
    return [(name, value.strip(" ")) for name, _, value in (line.partition(":") for line in lines)]


async def read_content(reader: asyncio.StreamReader, fields: list[tuple[str, str]], *, until_closed: bool) -> bytes:
    """Read content as Transfer-Encoding or Content-Length frame it; with neither, to the end or not at all."""
    framing = {name.lower(): value for name, value in fields}
    if framing.get("transfer-encoding", "").lower() == "chunked":
        content = bytearray()
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            content += await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n", "a chunk is longer than it said"
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return bytes(content)
    if "content-length" in framing:
        return await reader.readexactly(int(framing["content-length"]))
    return await reader.read(-1) if until_closed else b""


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader = reader
        self.writer = writer
        self.host = host

    async def __aenter__(self) -> RawClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        """Hang up at once."""
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def request(
        self, target: str = "/", *, method: str = "GET", fields: Iterable[tuple[str, str]] = (), content: bytes = b""
    ) -> None:
        """Send one request; Content-Length is set where there is content."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in fields]
        if content:
            lines.append(f"Content-Length: {len(content)}")
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    async def head(self) -> bytes:
        """Read one header section."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self, *, to: str = "GET") -> Answer:
        """Read the final answer to a request with method `to`."""
        head = await self.head()
        while head.startswith(b"HTTP/1.1 1"):
            head = await self.head()
        found = Answer(head, b"")
        if to != "HEAD" and found.status not in (204, 304):
            async with asyncio.timeout(PATIENCE):
                found.content = await read_content(self.reader, found.fields, until_closed=True)
        return found


async def connect(url: str) -> RawClient:
    """Open a connection to an http URL."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=16 << 20)
    return RawClient(reader, writer, parts.netloc)


async def fetch(
    url: str, target: str = "/", *, method: str = "GET", fields: Iterable[tuple[str, str]] = (), content: bytes = b""
) -> Answer:
    """Send one request on a connection of its own."""
    async with await connect(url) as client:
        await client.request(target, method=method, fields=fields, content=content)
        return await client.answer(to=method)
